// SPDX-License-Identifier: Apache-2.0
/// \file
/// All that the engine knows of a KV cache: five verbs a layer and sequence, and what it weighs.
/// `pikv_store` answers them with PiKV, `dense_store` with plain arrays.
///
/// Threads: one thread calls a store. Buffers of append and annotate must stay as they are until
/// the next attend or finish has returned: a store may read them until then.
#pragma once

#include <cstdint>
#include <span>

#include <pikv/actors/cache.hpp>
#include <pikv/messages/error.hpp>
#include <pikv/messages/types.hpp>

namespace pikv::moe_engine {

class kv_store {
public:
  virtual ~kv_store() = default;

  virtual result<sequence_id> open() = 0;
  virtual result<void> close(sequence_id x) = 0;

  /// Adds K and V `[rows, kv_heads, head_dim]` of one layer; K has its positions rotated in.
  virtual result<void> append(std::uint32_t layer, std::span<const batch_part> parts,
                              std::span<const float> k, std::span<const float> v) = 0;

  /// Brings the gate's logits `[rows, experts]` of tokens appended to this layer before.
  virtual result<void> annotate(std::uint32_t layer, std::span<const batch_part> parts,
                                std::span<const float> gate_logits) = 0;

  /// Causal softmax attention of `q` `[rows, query_heads, head_dim]`, scaled by 1/sqrt(head_dim),
  /// into `out` of the same shape. `lse` is empty or `[rows, query_heads]`: log of the sum of
  /// exp(logit) over what was read. Says how much was read.
  virtual result<entry_account> attend(std::uint32_t layer, std::span<const batch_part> parts,
                                       std::span<const float> q, std::span<float> out,
                                       std::span<float> lse) = 0;

  /// Waits for all that is still in flight and hands up the first error of it.
  virtual result<void> finish() = 0;

  /// Bytes that the KV of all open sequences takes now, with all that belongs to it.
  virtual result<std::uint64_t> bytes() = 0;
};

/// Rows of a batch: the tokens of its parts.
inline std::uint32_t rows_of(std::span<const batch_part> parts) noexcept {
  std::uint32_t rows = 0;
  for (const auto& x : parts)
    rows += x.tokens;
  return rows;
}

} // namespace pikv::moe_engine
