// SPDX-License-Identifier: Apache-2.0
/// \file
/// The engine's KV in PiKV: the whole integration.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include <moe_engine/kv_store.hpp>

namespace pikv::moe_engine {

struct pikv_store_options {
  std::chrono::nanoseconds deadline{0}; ///< of an attend; 0: what the configuration says
  bool exact = false; ///< read all that is kept, whatever routing and selection say
};

/// Errors are PiKV's own, handed up as they are.
class pikv_store final : public kv_store {
public:
  explicit pikv_store(cache x, pikv_store_options options = {});
  /// Waits: PiKV may still read buffers that the engine is about to free.
  ~pikv_store() override;
  pikv_store(const pikv_store&) = delete;
  pikv_store& operator=(const pikv_store&) = delete;

  result<sequence_id> open() override;
  result<void> close(sequence_id x) override;
  result<void> append(std::uint32_t layer, std::span<const batch_part> parts,
                      std::span<const float> k, std::span<const float> v) override;
  result<void> annotate(std::uint32_t layer, std::span<const batch_part> parts,
                        std::span<const float> gate_logits) override;
  result<entry_account> attend(std::uint32_t layer, std::span<const batch_part> parts,
                               std::span<const float> q, std::span<float> out,
                               std::span<float> lse) override;
  result<void> finish() override;
  result<std::uint64_t> bytes() override;

private:
  cache cache_;
  pikv_store_options options_;
  std::vector<completion<append_report>> appends_;     // in flight, buffers borrowed
  std::vector<completion<annotate_report>> annotates_; // in flight, buffers borrowed
};

} // namespace pikv::moe_engine
