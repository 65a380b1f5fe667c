// SPDX-License-Identifier: Apache-2.0
/// \file
/// Ids, element types and shapes that every part of PiKV shares. Plain values: no CAF, no CUDA.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

namespace pikv {

/// An id that cannot be mixed up with another kind of id.
template <class Tag, class Rep = std::uint32_t>
struct strong_id {
  Rep value = 0;
  friend constexpr auto operator<=>(const strong_id&, const strong_id&) = default;
};

using sequence_id = strong_id<struct sequence_tag, std::uint64_t>; ///< unique in a runtime's life
using ticket_id = strong_id<struct ticket_tag, std::uint64_t>;     ///< one request in flight
using device_id = strong_id<struct device_tag>;                    ///< index of a logical device
using shard_id = strong_id<struct shard_tag>;                      ///< index of a shard
using lane_id = strong_id<struct lane_tag>;                        ///< index of a router

/// How the bytes of a page are stored. The first three are raw forms: they hold what was appended,
/// rounded once to the element type. fp8 is e4m3 (OCP, no infinities) with scales. The others are
/// integers with scales; k4v2 keeps K in 4 bits and V in 2, k3v2 K in 3.
enum class form : std::uint8_t { f32, f16, bf16, int8, int4, fp8, int3, int2, k4v2, k3v2 };
inline constexpr std::size_t form_count = 10;

/// How a form packs its values.
struct form_traits {
  std::uint8_t k_bits = 32; ///< of one value of K
  std::uint8_t v_bits = 32; ///< of one value of V
  bool grouped = false;     ///< unsigned integers, an f16 pair (scale, min) per group

  constexpr std::uint32_t bits() const noexcept { return std::uint32_t{k_bits} + v_bits; }
};

/// In the order of `form`.
inline constexpr form_traits form_table[form_count] = {
    {32, 32}, {16, 16},     {16, 16},     {8, 8, true}, {4, 4, true},
    {8, 8},   {3, 3, true}, {2, 2, true}, {4, 2, true}, {3, 2, true}};

constexpr const form_traits& traits_of(form x) noexcept {
  return form_table[static_cast<std::size_t>(x)];
}

/// Element type of a buffer that the engine hands over (and of raw pages).
enum class dtype : std::uint8_t { f32, f16, bf16 };

/// Order of the axes in a buffer of the engine. N: rows (tokens), H: heads, D: head dim.
/// nhd: `[rows, heads, dim]`; hnd: `[heads, rows, dim]`.
enum class layout : std::uint8_t { nhd, hnd };

std::string_view to_string(form x) noexcept;
std::string_view to_string(dtype x) noexcept;
std::string_view to_string(layout x) noexcept;

/// Bytes of one element.
constexpr std::size_t size_of(dtype x) noexcept { return x == dtype::f32 ? 4 : 2; }

/// The raw form that keeps elements of type `x` unchanged.
constexpr form raw_form(dtype x) noexcept {
  return x == dtype::f32 ? form::f32 : x == dtype::f16 ? form::f16 : form::bf16;
}

constexpr bool is_raw(form x) noexcept { return x <= form::bf16; }

/// What a cache must know of a model. K and V of a standard Mixture-of-Experts model do not depend
/// on the experts; `experts` only says how wide the gate's logits are (0: the model has no gate).
struct model_shape {
  std::uint32_t layers = 0;
  std::uint32_t query_heads = 0;
  std::uint32_t kv_heads = 0; ///< divides query_heads
  std::uint32_t head_dim = 0; ///< multiple of 32, at most 256
  std::uint32_t experts = 0;
  friend bool operator==(const model_shape&, const model_shape&) = default;

  /// Query heads that share one KV head.
  constexpr std::uint32_t group() const noexcept { return query_heads / kv_heads; }
};

/// Where the entries of an attend went, counted as (query row, KV head, entry) triples, because a
/// selection may differ by row and by KV head. The last five add up to the first.
struct entry_account {
  std::uint64_t existing = 0;     ///< entries at or before each row's position, ever appended
  std::uint64_t read = 0;         ///< read by the attention
  std::uint64_t not_routed = 0;   ///< in shards outside the route
  std::uint64_t not_selected = 0; ///< inside the route, in pages that were not selected
  std::uint64_t evicted = 0;      ///< dropped earlier by a budget
  std::uint64_t lost = 0;         ///< gone with a device that failed
  friend bool operator==(const entry_account&, const entry_account&) = default;

  constexpr entry_account& operator+=(const entry_account& x) noexcept {
    existing += x.existing;
    read += x.read;
    not_routed += x.not_routed;
    not_selected += x.not_selected;
    evicted += x.evicted;
    lost += x.lost;
    return *this;
  }
  constexpr bool adds_up() const noexcept {
    return existing == read + not_routed + not_selected + evicted + lost;
  }
};

} // namespace pikv

template <class Tag, class Rep>
struct std::hash<pikv::strong_id<Tag, Rep>> {
  std::size_t operator()(pikv::strong_id<Tag, Rep> x) const noexcept {
    return std::hash<Rep>{}(x.value);
  }
};
