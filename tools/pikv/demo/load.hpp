// SPDX-License-Identifier: Apache-2.0
/// \file
/// A load that goes on until it is told to stop, for whoever wants to watch a cache at work.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <moe_engine/model.hpp>

#include <pikv/actors/runtime.hpp>
#include <pikv/config/settings.hpp>
#include <pikv/messages/error.hpp>

namespace pikv::tools {

struct load_options {
  double tokens_per_second = 500; ///< of all sequences together; 0: as fast as it goes
  std::chrono::seconds every{20}; ///< between two reloads
  std::uint32_t sequences = 4;    ///< open at once
  std::uint32_t tokens = 1024;    ///< of a sequence; then it is forked and both are closed
  std::uint32_t threads = 0;      ///< of the engine; 0: one per core
};

/// What a load has come to. `errors` counts passes that failed.
struct load_outcome {
  std::uint64_t tokens = 0;
  std::uint64_t sequences = 0; ///< that were filled to their end
  std::uint64_t errors = 0;
  std::uint64_t reloads = 0;
  entry_account entries;
};

/// Feeds pieces of `text`, prompts first and then a few tokens at a time, through the model with
/// its KV in `rt` until `stop` says true, which is asked at least every 50 ms between passes. With
/// several `rotation` settings it reloads to the next every `options.every`; with none it reloads
/// nothing. A failed pass or reload is a note on stderr, at most every five seconds: the load
/// closes its sequences, rests and goes on, since faults are what it is there to show. Blocks;
/// every wait ends by limits.deadline. Errors: those of opening the cache; invalid_argument when
/// the text is shorter than a sequence.
result<load_outcome> run_load(runtime& rt, const moe_engine::model& model,
                              std::span<const std::uint8_t> text,
                              std::span<const config::settings> rotation,
                              const load_options& options, const std::function<bool()>& stop);

} // namespace pikv::tools
