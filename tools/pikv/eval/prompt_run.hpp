// SPDX-License-Identifier: Apache-2.0
/// \file
/// Asks prompts of a model with its KV in some store, and decodes the answers greedily.
///
/// Query-agnostic unless said otherwise, as in NVIDIA's kvpress: the context goes in first,
/// whatever settles, is encoded or dropped for it is waited for, and only then does the first
/// question come. What gives way can thus not know what will be asked. With `query_aware` the first
/// question goes in together with the end of the context, before that wait: policies that look at
/// the prompt's last queries see it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <moe_engine/engine.hpp>
#include <moe_engine/open_sequences.hpp>
#include <pikv/messages/error.hpp>

#include "eval/prompts.hpp"

namespace pikv::tools {

struct prompt_run_options {
  std::uint32_t sequences = 4;      ///< prompts in one batch
  std::uint32_t chunk_tokens = 128; ///< of each context in one forward pass
  bool query_aware = false;
};

/// How well questions were answered. Sums over prompts add up.
struct recall_score {
  std::uint32_t asked = 0;   ///< questions
  std::uint32_t right = 0;   ///< all digits right, in greedy decoding
  std::uint32_t choices = 0; ///< questions that offered codes to choose from
  std::uint32_t chosen = 0; ///< of those: the likeliest first byte among the offered ones was right
  double chance = 0;        ///< expected `chosen` of blind choices

  recall_score& operator+=(const recall_score& x) noexcept;
  double accuracy() const noexcept;        ///< right / asked; 0 for none
  double choice_accuracy() const noexcept; ///< chosen / choices; 0 for none
  double chance_accuracy() const noexcept; ///< chance / choices; 0 for none
};

/// Whether a model can do a task: it answers a tenth of the questions in full, or chooses better
/// than blind choice does in 99 of 100 cases (normal approximation of the binomial).
bool usable(const recall_score& x) noexcept;

/// After each forward pass: its entries, tokens and wall time in seconds. False ends the run.
using pass_callback =
    std::function<bool(const entry_account&, std::uint64_t tokens, double seconds)>;

/// Tokens that `ask` feeds for these prompts, at most.
std::uint64_t tokens_of(std::span<const prompt> prompts) noexcept;

/// The scores of the prompts, one each. Blocks; throws nothing. Errors: those of the store;
/// errc::cancelled when the callback said so; errc::out_of_range for a prompt that is longer than
/// the model's positions. Sequences opened here are closed on every path.
result<std::vector<recall_score>> ask(moe_engine::engine& e, moe_engine::kv_store& kv,
                                      std::uint32_t vocabulary, std::span<const prompt> prompts,
                                      const prompt_run_options& options,
                                      const pass_callback& callback);

} // namespace pikv::tools
