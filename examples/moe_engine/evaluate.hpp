// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a KV store costs and what it keeps: bits per byte of a text, needles found, coverage,
/// entries read, tokens per second and bytes per token, for any `kv_store`.
///
/// The same text, prompts and sampled rows come for every store with the same options, so rows of a
/// table can be compared. Nothing throws; sequences opened here are closed on every path.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <moe_engine/files.hpp>
#include <moe_engine/kv_store.hpp>
#include <moe_engine/model.hpp>
#include <moe_engine/thread_team.hpp>
#include <pikv/messages/error.hpp>
#include <pikv/messages/types.hpp>

namespace pikv::moe_engine {

struct evaluation_options {
  std::uint32_t windows = 48;        ///< windows of the text, from its start; 0: none
  std::uint32_t needles = 32;        ///< needle prompts; 0: none
  std::uint32_t window_bytes = 4096; ///< bytes (= tokens) of a window and of a needle prompt
  std::uint32_t sequences = 4;       ///< windows in one batch
  std::uint32_t chunk_tokens = 128;  ///< tokens of each sequence in one forward pass
  std::uint64_t seed = 11;           ///< of the needle prompts
  /// Coverage of the text is measured on every n-th position, in all layers and heads; 0: not at
  /// all. An odd number visits every place in a page.
  std::uint32_t coverage_stride = 127;
};

enum class evaluation_phase : std::uint8_t { text, needles };

struct evaluation_progress {
  evaluation_phase phase = evaluation_phase::text;
  std::uint64_t tokens_done = 0;  ///< of both phases
  std::uint64_t tokens_total = 0; ///< of both phases
  double bits_per_byte = 0;       ///< so far; 0 before the first prediction
  double seconds = 0;             ///< in forward passes so far
};

/// Called after each forward pass; false ends the evaluation with errc::cancelled.
using progress_callback = std::function<bool(const evaluation_progress&)>;

struct evaluation_result {
  double bits_per_byte = 0;      ///< mean of -log2 p(next byte) over `predictions`
  std::uint64_t predictions = 0; ///< window_bytes - 1 a window
  std::uint32_t needles_right = 0;
  std::uint32_t needles = 0;
  /// Mean over the sampled (row, layer, query head) of exp(lse of what was read - lse of all
  /// entries from raw f32 keys). 1 is exact; forms that round keys move single rows around it.
  double coverage = 0;
  std::uint64_t coverage_samples = 0;    ///< 0: not measured
  std::vector<double> coverage_by_layer; ///< the same mean, layer by layer; empty: not measured
  entry_account entries;                 ///< sum over layers, rows and KV heads of all passes
  std::uint64_t tokens = 0;              ///< through the forward pass
  double forward_seconds = 0;            ///< wall time of the forward passes, measuring left out
  std::uint64_t kv_bytes = 0;  ///< largest total when a batch was in whole, before closing
  std::uint64_t kv_tokens = 0; ///< tokens in that batch
  double kv_kept = 1;          ///< share of that batch's entries that no budget had dropped by then

  double needle_accuracy() const noexcept {
    return needles == 0 ? 0.0 : static_cast<double>(needles_right) / needles;
  }
  double tokens_per_second() const noexcept {
    return forward_seconds <= 0 ? 0.0 : static_cast<double>(tokens) / forward_seconds;
  }
  double kv_bytes_per_token() const noexcept {
    return kv_tokens == 0 ? 0.0 : static_cast<double>(kv_bytes) / static_cast<double>(kv_tokens);
  }
  /// Share of the existing entries that were read.
  double read_share() const noexcept {
    return entries.existing == 0
               ? 0.0
               : static_cast<double>(entries.read) / static_cast<double>(entries.existing);
  }
};

/// Runs windows and needles of `text` through the model with its KV in `kv`. Errors: those of the
/// store, as they are (the pass that met one is abandoned after all that was in flight has ended);
/// errc::invalid_argument when the text is too short for the options; errc::cancelled when
/// `progress` said stop. Throws nothing; blocks until done.
result<evaluation_result> evaluate(const model& m, kv_store& kv, thread_team& team,
                                   std::span<const std::uint8_t> text,
                                   const evaluation_options& options = {},
                                   const progress_callback& progress = {});

/// The needle prompts of an evaluation: prompt i is `window_bytes` long, hides
/// "\nThe code for WORD is DDDDD.\n" at depth .05, .25, .5 or .75 (in turn) of a piece of the text
/// and ends with "\nWhat is the code for WORD? It is DDDDD".
result<std::vector<std::vector<std::uint8_t>>> needle_prompts(std::span<const std::uint8_t> text,
                                                              std::uint32_t count,
                                                              std::uint32_t window_bytes,
                                                              std::uint64_t seed);

/// Natural log of p(byte i+1 | bytes 0..i) for i = 0 .. text.size() - 2, fed in chunks.
result<std::vector<float>> log_probabilities(const model& m, kv_store& kv, thread_team& team,
                                             std::span<const std::uint8_t> text,
                                             std::uint32_t chunk_tokens = 64);

/// The list "log_probs" of a reference.json. Errors: errc::io_failed, errc::model_file.
result<std::vector<float>> read_reference(const std::string& path);

} // namespace pikv::moe_engine
