// SPDX-License-Identifier: Apache-2.0
/// \file
/// The engine's KV without PiKV: all of it kept, all of it read. The yardstick.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include <moe_engine/dense_attention.hpp>
#include <moe_engine/kv_store.hpp>
#include <moe_engine/thread_team.hpp>

namespace pikv::moe_engine {

/// K and V of each sequence, layer and KV head in blocks of 128 tokens, exact attention. Borrows
/// the team, which must outlive it. Errors are PiKV's for the same mistakes:
/// errc::unknown_sequence, errc::position_gap, errc::out_of_range, errc::shape_mismatch.
class dense_store final : public kv_store {
public:
  dense_store(const model_shape& shape, dtype stored, thread_team& team);

  result<sequence_id> open() override;
  result<void> close(sequence_id x) override;
  result<void> append(std::uint32_t layer, std::span<const batch_part> parts,
                      std::span<const float> k, std::span<const float> v) override;
  result<void> annotate(std::uint32_t layer, std::span<const batch_part> parts,
                        std::span<const float> gate_logits) override;
  result<entry_account> attend(std::uint32_t layer, std::span<const batch_part> parts,
                               std::span<const float> q, std::span<float> out,
                               std::span<float> lse) override;
  result<void> finish() override { return {}; }
  result<std::uint64_t> bytes() override;

private:
  struct head {
    std::vector<kv_block> blocks;
  };
  struct layer_kv {
    std::uint32_t tokens = 0;
    std::vector<head> heads;
  };
  using sequence = std::vector<layer_kv>;

  result<void> check(std::uint32_t layer, std::span<const batch_part> parts) const;
  void put(layer_kv& to, const batch_part& part, std::size_t row, std::size_t kv_head,
           std::span<const float> k, std::span<const float> v) const;

  model_shape shape_;
  dtype stored_;
  thread_team& team_;
  std::uint64_t last_id_ = 0;
  std::unordered_map<sequence_id, sequence> sequences_;
};

} // namespace pikv::moe_engine
