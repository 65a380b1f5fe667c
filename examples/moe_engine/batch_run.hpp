// SPDX-License-Identifier: Apache-2.0
/// \file
/// Feeds several texts of equal length through an engine as one batch, in chunks.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <moe_engine/engine.hpp>

namespace pikv::moe_engine {

using byte_text = std::span<const std::uint8_t>;

/// What a run reports on its way. Both may be empty.
struct batch_observer {
  /// The logits `[vocabulary]` that follow byte `position` of a text.
  std::function<void(std::size_t text, std::size_t position, std::span<const float> logits)> row;
  /// After each pass: its entries, tokens and wall time in seconds. False ends the run with
  /// errc::cancelled.
  std::function<bool(const entry_account&, std::uint64_t tokens, double seconds)> pass;
};

/// Opens a sequence for each text, feeds all in step, and closes the sequences on every path.
/// Gives the store's bytes when all texts were in, before closing. Errors: those of the engine and
/// the store.
result<std::uint64_t> run_batch(engine& e, kv_store& kv, std::span<const byte_text> texts,
                                std::uint32_t vocabulary, std::uint32_t chunk_tokens,
                                const batch_observer& observer);

} // namespace pikv::moe_engine
