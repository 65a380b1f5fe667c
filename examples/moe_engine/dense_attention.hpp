// SPDX-License-Identifier: Apache-2.0
/// \file
/// Exact causal attention of many queries over one KV head, blockwise with a running softmax, as in
/// FlashAttention (Dao et al., arXiv 2205.14135). On the calling thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <pikv/messages/types.hpp>

namespace pikv::moe_engine {

/// K and V of up to 128 tokens of one KV head, in the order that the products read: K transposed in
/// panels of 32 tokens, `[4, head_dim, 32]`, then V in panels of 32 channels,
/// `[padded_dim / 32, 128, 32]`. Slots without a token are zero.
class kv_block {
public:
  static constexpr std::size_t tokens = 128;
  static constexpr std::size_t panel = 32;
  static constexpr std::size_t padded(std::size_t head_dim) noexcept {
    return (head_dim + panel - 1) / panel * panel;
  }
  static constexpr std::size_t elements(std::size_t head_dim) noexcept {
    return tokens * (head_dim + padded(head_dim));
  }

  kv_block(dtype type, std::size_t head_dim)
      : type_(type), head_dim_(head_dim),
        data_(std::make_unique<std::byte[]>(elements(head_dim) * size_of(type))) {}

  /// Stores K and V `[head_dim]` of the block's token `slot`, rounded to the type.
  void put(std::size_t slot, std::span<const float> k, std::span<const float> v) noexcept;

  /// All elements as f32: the block itself when it is f32, else widened into `scratch`, which has
  /// elements(head_dim) floats.
  const float* widened(std::span<float> scratch) const noexcept;

  std::size_t bytes() const noexcept { return elements(head_dim_) * size_of(type_); }

private:
  dtype type_;
  std::size_t head_dim_;
  std::unique_ptr<std::byte[]> data_;
};

/// Queries of consecutive tokens that share one KV head.
struct attention_job {
  std::span<const kv_block> blocks; ///< all entries up to the last row's position
  std::size_t head_dim = 0;
  std::size_t rows = 0;
  std::size_t group = 0;      ///< query heads that share the KV head
  std::uint32_t position = 0; ///< of the first row; row r reads entries 0 .. position + r
  const float* q = nullptr;   ///< `[group, head_dim]` of row 0; the next row is row_stride on
  float* out = nullptr;       ///< laid out as q
  std::size_t row_stride = 0; ///< of q and out, in elements
  float* lse = nullptr;       ///< null, or `[group]` of row 0
  std::size_t lse_stride = 0; ///< in elements
};

void attend_head(const attention_job& job);

} // namespace pikv::moe_engine
