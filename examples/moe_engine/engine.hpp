// SPDX-License-Identifier: Apache-2.0
/// \file
/// An inference engine that keeps its KV behind a `kv_store`. Prefill in chunks, several sequences
/// in a batch, single-token decode: all the same call.
#pragma once

#include <cstdint>
#include <span>

#include <moe_engine/kv_store.hpp>
#include <moe_engine/layer.hpp>
#include <moe_engine/model.hpp>
#include <moe_engine/thread_team.hpp>

namespace pikv::moe_engine {

/// Borrows the model, the store and the team, which must outlive it. One thread at a time.
class engine {
public:
  engine(const model& m, kv_store& kv, thread_team& team);

  /// Runs the tokens of all parts (rows in the order of the parts) through the model and writes the
  /// logits `[rows, vocabulary]` of what follows each. Says where the entries of the attention
  /// went, summed over layers. Errors: errc::invalid_argument for sizes that do not fit,
  /// errc::out_of_range for a position the model cannot have, and the store's own. After an error
  /// the sequences of the batch have the new tokens in some layers only and can just be closed;
  /// nothing is in flight any more.
  result<entry_account> forward(std::span<const batch_part> parts,
                                std::span<const std::uint8_t> tokens, std::span<float> logits);

private:
  result<void> check(std::span<const batch_part> parts, std::span<const std::uint8_t> tokens,
                     std::span<float> logits) const;
  void embed(std::span<const batch_part> parts, std::span<const std::uint8_t> tokens);
  result<entry_account> run_layers(std::span<const batch_part> parts);

  const model& model_;
  kv_store& kv_;
  thread_team& team_;
  rotary_table rotary_;
  activations a_;
  expert_pass experts_;
};

} // namespace pikv::moe_engine
