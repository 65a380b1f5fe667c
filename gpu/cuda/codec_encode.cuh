// SPDX-License-Identifier: Apache-2.0
/// \file
/// Encoding parts of pages by warps, and pages by blocks.
#pragma once

#include <bit>

#include <pikv/gpu/cuda/codec_values.cuh>

namespace pikv::gpu::cuda {

/// Calls f(index, active, raw) for the lane's 8 * Vectors values of each tile, `Batch` loads at
/// once. A tile may reach beyond the part: lanes there are not active.
template <int Batch, int Vectors, class T, class F>
__device__ __forceinline__ void for_tiles(const part_of_head<T>& part, F&& f) {
  constexpr std::uint32_t values = tile_values * Vectors;
  for (std::uint32_t first = 0; first < part.values; first += Batch * values) {
    raw8<T> raw[Batch][Vectors];
    const std::uint32_t index = first + lane_id() * lane_values * Vectors;
#pragma unroll
    for (int j = 0; j < Batch; ++j)
#pragma unroll
      for (int v = 0; v < Vectors; ++v)
        if (index + j * values < part.values)
          raw[j][v] = load_raw8(in_global(part.in + index + j * values + v * lane_values));
#pragma unroll
    for (int j = 0; j < Batch; ++j)
      if (first + j * values < part.values)
        f(index + j * values, index + j * values < part.values, raw[j]);
  }
}

/// Encodes one part as int8 or int4; the whole warp calls. `Vectors`: 1 where a group has eight
/// values, else 2.
template <form Target, int Vectors, int Batch, class T>
__device__ __forceinline__ void encode_part(const part_of_head<T>& part, lane_quality& sums) {
  if (part.tokens == part.page_tokens)
    for_tiles<Batch / Vectors, Vectors>(
        part, [&](std::uint32_t index, bool active, const auto& raw) {
          encode_integers<Target, true, Vectors>(part, index, active, raw, sums);
        });
  else
    for_tiles<Batch / Vectors, Vectors>(
        part, [&](std::uint32_t index, bool active, const auto& raw) {
          encode_integers<Target, false, Vectors>(part, index, active, raw, sums);
        });
}

/// Encodes one part as fp8; the whole warp calls.
template <bool Full, int Batch, class T>
__device__ __forceinline__ void encode_part_fp8(const part_of_head<T>& part, lane_quality& sums) {
  float top = 0;
  for_tiles<Batch, 1>(part, [&](std::uint32_t index, bool, const auto& raw) {
    top = max_nan(top, lane_largest<Full>(part, index, raw[0]));
  });
#pragma unroll
  for (int step = 16; step > 0; step /= 2)
    top = max_nan(top, __shfl_xor_sync(whole_warp, top, step));
  sums.representable &= top < __builtin_huge_valf();
  // A scale below the normal floats has no finite inverse.
  const float scale = top > 0 ? fmaxf(__fdiv_rn(top, largest_e4m3), 0x1p-126F) : 1.0F;
  const float inverse = __frcp_rn(scale);
  if (lane_id() == 0)
    *reinterpret_cast<float*>(part.scales) = scale;
  for_tiles<Batch, 1>(part, [&](std::uint32_t index, bool, const auto& raw) {
    encode_e4m3<Full>(part, index, raw[0], scale, inverse, sums); // the second read is from L1
  });
}

/// The K or V of one head, between a raw page and an encoded one.
template <class T>
__device__ __forceinline__ part_of_head<T>
part_at(const std::byte* raw_head, std::byte* coded_head, const head_offsets& from,
        const head_offsets& to, const cache_dims& dims, std::uint32_t k_group_log2,
        std::uint32_t tokens, bool is_k) {
  part_of_head<T> x;
  x.in = reinterpret_cast<const T*>(raw_head + (is_k ? 0 : from.v));
  x.out = coded_head + (is_k ? 0 : to.v);
  x.scales = coded_head + (is_k ? to.k_scale : to.v_scale);
  x.values = dims.head_dim * dims.page_tokens;
  x.group_log2 = is_k ? k_group_log2 : 5;
  x.tokens = tokens;
  x.page_tokens = dims.page_tokens;
  x.head_dim = dims.head_dim;
  x.is_k = is_k;
  return x;
}

/// What encoding a page needs to know of the cache.
struct encode_shape {
  cache_dims dims;
  form_offsets offsets;
  std::uint32_t k_group_log2 = 0;
};

inline encode_shape encode_shape_of(const cache_dims& dims) noexcept {
  const std::uint32_t k_group = layout_of(dims, form::int8).k_group;
  return {dims, offsets_of(dims), static_cast<std::uint32_t>(std::countr_zero(k_group))};
}

template <class T>
__host__ __device__ constexpr form form_of() {
  return sizeof(T) == 4 ? form::f32 : std::is_same_v<T, __half> ? form::f16 : form::bf16;
}

/// Encodes a page; its parts (K and V of each head) go to the block's warps in turn, and each warp
/// asks for its next part while it works on one.
template <form Target, int Vectors, int Batch, int Warps, class T>
__device__ __forceinline__ void encode_page(const encode_shape& s, const std::byte* page,
                                            std::byte* coded, std::uint32_t tokens, lane_quality& k,
                                            lane_quality& v) {
  const head_offsets from = s.offsets.of[static_cast<int>(form_of<T>())];
  const head_offsets to = s.offsets.of[static_cast<int>(Target)];
  const std::uint32_t parts = 2 * s.dims.kv_heads;
  for (std::uint32_t i = warp_id(); i < parts; i += Warps) {
    const std::uint32_t head = i / 2;
    const bool is_k = i % 2 == 0;
    const auto part =
        part_at<T>(page + std::size_t{head} * from.bytes, coded + std::size_t{head} * to.bytes,
                   from, to, s.dims, s.k_group_log2, tokens, is_k);
    if (i + Warps < parts) {
      const std::uint32_t next = i + Warps;
      prefetch_warp(page + std::size_t{next / 2} * from.bytes + (next % 2 == 0 ? 0 : from.v),
                    part.values * sizeof(T));
    }
    lane_quality sums;
    if constexpr (Target == form::fp8)
      tokens == s.dims.page_tokens ? encode_part_fp8<true, Batch>(part, sums)
                                   : encode_part_fp8<false, Batch>(part, sums);
    else
      encode_part<Target, Vectors, Batch>(part, sums);
    k.error += is_k ? sums.error : 0.0F;
    k.norm += is_k ? sums.norm : 0.0F;
    v.error += is_k ? 0.0F : sums.error;
    v.norm += is_k ? 0.0F : sums.norm;
    k.representable &= sums.representable;
  }
}

/// Adds up the lanes of a block; thread 0 writes.
template <int Warps>
__device__ void write_errors(const lane_quality& k, const lane_quality& v, codec_error* out) {
  __shared__ double sums[Warps][4];
  const bool fits = __syncthreads_and(k.representable && v.representable) != 0;
  const double lane[4] = {k.error, k.norm, v.error, v.norm};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const double sum = warp_sum(lane[i]);
    if (lane_id() == 0)
      sums[warp_id()][i] = sum;
  }
  __syncthreads();
  if (threadIdx.x != 0)
    return;
  codec_error total;
  for (int w = 0; w < Warps; ++w) {
    total.k_error += sums[w][0];
    total.k_norm += sums[w][1];
    total.v_error += sums[w][2];
    total.v_norm += sums[w][3];
  }
  total.representable = fits;
  *out = total;
}

} // namespace pikv::gpu::cuda
