// SPDX-License-Identifier: Apache-2.0
/// \file
/// Encoding the K or V of one head by one warp. Bytes and scales equal those of the host kernels.
#pragma once

#include <pikv/gpu/cuda/codec_numeric.cuh>

namespace pikv::gpu::cuda {

/// K `[head_dim, page_tokens]` or V `[page_tokens, head_dim]` of one head.
template <class T>
struct part_of_head {
  const T* in = nullptr;        ///< raw values
  std::byte* out = nullptr;     ///< encoded values
  std::byte* scales = nullptr;  ///< f16 `[values / group, 2]`, or f32 `[1]` for fp8
  std::uint32_t values = 0;     ///< head_dim * page_tokens, a multiple of 256
  std::uint32_t group_log2 = 0; ///< of the values that share a scale in int8 and int4: 3, 4 or 5
  std::uint32_t tokens = 0;     ///< filled slots
  std::uint32_t page_tokens = 0;
  std::uint32_t head_dim = 0;
  bool is_k = false;

  /// How many of the lane's eight values from `index` on are filled: they are the first ones.
  __device__ __forceinline__ std::uint32_t filled(std::uint32_t index) const {
    if (!is_k)
      return index < tokens * head_dim ? lane_values : 0;
    const std::uint32_t slot = index & (page_tokens - 1);
    return slot < tokens ? min(tokens - slot, lane_values) : 0;
  }
};

/// Squared error and norm of what a lane encoded.
struct lane_quality {
  float error = 0, norm = 0;
  bool representable = true;
};

/// Eight integers below 256 as floats plus 2^23, in bytes.
__device__ __forceinline__ uint2 pack_bytes(const float (&m)[8]) {
  unsigned w[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    w[i] = __byte_perm(__float_as_uint(m[2 * i]), __float_as_uint(m[2 * i + 1]), 0x0040);
  return {__byte_perm(w[0], w[1], 0x5410), __byte_perm(w[2], w[3], 0x5410)};
}

/// Writes a group's nibbles: the lower half of its lanes holds the low nibbles of all its bytes.
__device__ __forceinline__ void store_nibbles(std::byte* out, std::uint32_t index,
                                              std::uint32_t group_log2, uint2 q) {
  const std::uint32_t half = 1U << group_log2 >> 1;
  if (half < lane_values) {
    *reinterpret_cast<unsigned*>(out + index / 2) = q.x | q.y << 4;
    return;
  }
  const bool upper = (index & half) != 0;
  const unsigned other = __shfl_xor_sync(whole_warp, upper ? q.x : q.y, half / lane_values);
  const unsigned bytes = upper ? other | q.y << 4 : q.x | other << 4;
  const std::uint32_t at = (index >> group_log2) * half + (index & (half - 1)) + (upper ? 4 : 0);
  *reinterpret_cast<unsigned*>(out + at) = bytes;
}

/// One tile of int8 or int4: all lanes of the warp, the lane's values begin at `index`.
template <form Target, bool Full, class T>
__device__ __forceinline__ void encode_integers(const part_of_head<T>& part, std::uint32_t index,
                                                const raw8<T>& raw, lane_quality& sums) {
  constexpr float levels = Target == form::int8 ? 255.0F : 15.0F;
  constexpr float magic = 8388608.0F; // 2^23: adding it rounds to an integer in the low bits
  float x[8];
  widen(raw, x);
  const std::uint32_t n = Full ? lane_values : part.filled(index);
  float2 range;
  if (Full) {
    range = range_of(raw, x);
  } else {
    range = {__int_as_float(0x7F800000), -__int_as_float(0x7F800000)};
#pragma unroll
    for (int i = 0; i < 8; ++i)
      if (i < n)
        range = {min_nan(range.x, x[i]), max_nan(range.y, x[i])};
  }
  for (std::uint32_t step = 1; step < 1U << part.group_log2 >> 3; step *= 2)
    range = {min_nan(range.x, __shfl_xor_sync(whole_warp, range.x, step)),
             max_nan(range.y, __shfl_xor_sync(whole_warp, range.y, step))};
  const bool empty = !Full && range.x > range.y;
  const bool flat = range.x == range.y;
  const __half low = flat ? __float2half_rn(range.x) : f16_below(empty ? 0.0F : range.x);
  const float base = __half2float(low);
  const float step = divide_by(range.y - base, levels, 1.0F / levels);
  const __half scale16 = flat || empty ? __half(0.0F) : f16_above(step);
  const float scale = __half2float(scale16);
  const float inverse = scale > 0 ? __frcp_rn(scale) : 0.0F;
  if (!empty) // false also where one is NaN
    sums.representable &= fabsf(range.x) <= largest_f16 && step <= largest_f16
                          && range.y < __int_as_float(0x7F800000);
  float m[8], error = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float v = Full || i < n ? x[i] : base;
    const float y = __fmul_rn(__fsub_rn(v, base), inverse);
    m[i] = __fadd_rn(y, magic);
    const float e = flat ? v - base : y - (m[i] - magic);
    error = fmaf(e, e, error);
    sums.norm = Full || i < n ? fmaf(v, v, sums.norm) : sums.norm;
  }
  sums.error = fmaf(error, flat ? 1.0F : scale * scale, sums.error);
  const uint2 q = pack_bytes(m);
  if (Target == form::int4)
    store_nibbles(part.out, index, part.group_log2, q);
  else
    *reinterpret_cast<uint2*>(part.out + index) = q;
  if ((index & ((1U << part.group_log2) - 1)) == 0)
    reinterpret_cast<__half2*>(part.scales)[index >> part.group_log2] =
        __halves2half2(scale16, low);
}

/// The largest magnitude of a lane's filled values, NaN if one is.
template <class T>
__device__ __forceinline__ float lane_largest(const part_of_head<T>& part, std::uint32_t index,
                                              const raw8<T>& raw) {
  float x[8];
  widen(raw, x);
  const std::uint32_t n = part.filled(index);
  if (n == lane_values) {
    const float2 range = range_of(raw, x);
    return max_nan(-range.x, range.y);
  }
  float top = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i)
    if (i < n)
      top = max_nan(top, fabsf(x[i]));
  return top;
}

template <class T>
__device__ __forceinline__ void encode_e4m3(const part_of_head<T>& part, std::uint32_t index,
                                            const raw8<T>& raw, float scale, lane_quality& sums) {
  float x[8];
  widen(raw, x);
  const std::uint32_t n = part.filled(index);
  const float inverse = __frcp_rn(scale);
  unsigned w[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float* v = x + 4 * i;
#pragma unroll
    for (int j = 0; j < 4; ++j)
      v[j] = 4 * i + j < n ? v[j] : 0.0F;
    const unsigned a = __nv_cvt_float2_to_fp8x2({v[0] * inverse, v[1] * inverse}, __NV_SATFINITE,
                                                __NV_E4M3);
    const unsigned b = __nv_cvt_float2_to_fp8x2({v[2] * inverse, v[3] * inverse}, __NV_SATFINITE,
                                                __NV_E4M3);
    w[i] = a | b << 16;
    const float4 q = widen_e4m3(w[i]);
    const float back[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float e = fmaf(-back[j], scale, v[j]);
      sums.error = fmaf(e, e, sums.error);
      sums.norm = fmaf(v[j], v[j], sums.norm);
    }
  }
  *reinterpret_cast<uint2*>(part.out + index) = {w[0], w[1]};
}

/// Calls f(index, raw) for the lane's values of every tile of the part, `Batch` loads at once.
template <int Batch, class T, class F>
__device__ __forceinline__ void for_tiles(const part_of_head<T>& part, F&& f) {
  const std::uint32_t tiles = part.values / tile_values;
  for (std::uint32_t first = 0; first < tiles; first += Batch) {
    raw8<T> raw[Batch];
#pragma unroll
    for (int j = 0; j < Batch; ++j)
      if (first + j < tiles)
        raw[j] = load_raw8(part.in + (first + j) * tile_values + lane_id() * lane_values);
#pragma unroll
    for (int j = 0; j < Batch; ++j)
      if (first + j < tiles)
        f((first + j) * tile_values + lane_id() * lane_values, raw[j]);
  }
}

/// Encodes one part; the whole warp calls.
template <form Target, int Batch, class T>
__device__ __forceinline__ void encode_part(const part_of_head<T>& part, lane_quality& sums) {
  if constexpr (Target == form::fp8) {
    float top = 0;
    for_tiles<Batch>(part, [&](std::uint32_t index, const raw8<T>& raw) {
      top = max_nan(top, lane_largest(part, index, raw));
    });
#pragma unroll
    for (int step = 16; step > 0; step /= 2)
      top = max_nan(top, __shfl_xor_sync(whole_warp, top, step));
    sums.representable &= top < __int_as_float(0x7F800000);
    // A scale below the normal floats has no finite inverse.
    const float scale = top > 0 ? fmaxf(__fdiv_rn(top, largest_e4m3), 0x1p-126F) : 1.0F;
    if (lane_id() == 0)
      *reinterpret_cast<float*>(part.scales) = scale;
    for_tiles<Batch>(part, [&](std::uint32_t index, const raw8<T>& raw) {
      encode_e4m3(part, index, raw, scale, sums); // the second read comes from L1
    });
  } else if (part.tokens == part.page_tokens) {
    for_tiles<Batch>(part, [&](std::uint32_t index, const raw8<T>& raw) {
      encode_integers<Target, true>(part, index, raw, sums);
    });
  } else {
    for_tiles<Batch>(part, [&](std::uint32_t index, const raw8<T>& raw) {
      encode_integers<Target, false>(part, index, raw, sums);
    });
  }
}

/// The K or V of one head, between a raw page and an encoded one.
template <class T>
__device__ __forceinline__ part_of_head<T> part_at(const std::byte* raw_head, std::byte* coded_head,
                                                   const head_offsets& from, const head_offsets& to,
                                                   const cache_dims& dims, std::uint32_t k_group_log2,
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

} // namespace pikv::gpu::cuda
