// SPDX-License-Identifier: Apache-2.0
/// \file
/// How the bytes of one page are arranged, per form. One page holds `page_tokens` slots of one
/// (sequence, layer), all KV heads; a head's part is contiguous: K, then V, then their scales.
///
///   raw    K `[head_dim, page_tokens]` (token runs fastest), V `[page_tokens, head_dim]`
///   int8   the same shapes in unsigned bytes, x = q * scale + min
///   int4   the same, two values a byte: in each group of G values, byte i holds value i in its low
///          and value i + G/2 in its high nibble
///   int2   the same, four values a byte: byte i of a group holds the values i, i + G/4, i + G/2
///          and i + 3 G/4, the first in its lowest bits
///   int3   the low two bits of a group's values as in int2, then their third bits: bit j of byte i
///          belongs to value i + j G/8
///   k4v2   K as in int4, V as in int2; k3v2: K as in int3, V as in int2
///   fp8    the raw shapes in bytes of e4m3, x = q * scale
///
/// Scales of all the integers: f16 pairs (scale, min). K has one per channel and group of `k_group`
/// tokens, V one per token and group of `v_group` channels (KIVI, arXiv 2402.02750: K per channel,
/// V per token). Scales of fp8: one f32 for the head's K and one for its V, largest magnitude / 448
/// and 1 where all values are 0.
/// Slots at or beyond a page's token count hold unspecified bytes and are never read as data.
#pragma once

#include <cstddef>
#include <cstdint>

#include <pikv/messages/types.hpp>

namespace pikv::gpu {

/// The constants of one cache that every kernel needs.
struct cache_dims {
  std::uint32_t query_heads = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t head_dim = 0;    ///< a multiple of 32, at most 256
  std::uint32_t page_tokens = 0; ///< 8, 16, 32 or 64
  friend bool operator==(const cache_dims&, const cache_dims&) = default;

  constexpr std::uint32_t group() const noexcept { return query_heads / kv_heads; }
};

/// Byte offsets inside one page of one form. All offsets are multiples of 64.
struct page_layout {
  form stored = form::f32;
  std::uint32_t k_group = 0;      ///< tokens that share a K scale: at most 32; below 4 bits 64
  std::uint32_t v_group = 0;      ///< channels that share a V scale: 32
  std::size_t k_offset = 0;       ///< from the head's begin
  std::size_t v_offset = 0;       ///< from the head's begin
  std::size_t k_scale_offset = 0; ///< f16 `[head_dim, page_tokens / k_group, 2]`; fp8: f32 `[1]`
  std::size_t v_scale_offset = 0; ///< f16 `[page_tokens, head_dim / v_group, 2]`; fp8: f32 `[1]`
  std::size_t head_bytes = 0;     ///< distance between two heads
  std::size_t page_bytes = 0;     ///< head_bytes * kv_heads
  form_traits packing;            ///< of `stored`
};

page_layout layout_of(const cache_dims& dims, form stored) noexcept;

/// What a page's summary holds, as bits: only what the policies in force need is kept.
enum summary_part : std::uint8_t {
  summary_none = 0,
  summary_mean_var = 1, ///< f16 mean `[head_dim]`, f16 variance `[head_dim]` (divided by count)
  summary_min_max = 2,  ///< f16 min `[head_dim]` rounded down, f16 max `[head_dim]` rounded up
};

/// Offsets inside one page's summary; a head's part is contiguous. Computed from the keys as
/// stored.
struct summary_layout {
  std::uint8_t parts = summary_none;
  std::size_t mean_offset = 0;
  std::size_t var_offset = 0;
  std::size_t min_offset = 0;
  std::size_t max_offset = 0;
  std::size_t head_bytes = 0;
  std::size_t bytes = 0; ///< 0 for summary_none
};

summary_layout summary_layout_of(const cache_dims& dims, std::uint8_t parts) noexcept;

} // namespace pikv::gpu
