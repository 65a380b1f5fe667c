// SPDX-License-Identifier: Apache-2.0
/// \file
/// Encoding the values that a lane holds. Bytes and scales equal those of the host kernels.
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

  /// How many of the lane's `Values` values from `index` on are filled: they are the first ones.
  template <std::uint32_t Values>
  __device__ __forceinline__ std::uint32_t filled(std::uint32_t index) const {
    if (!is_k)
      return index < tokens * head_dim ? Values : 0;
    const std::uint32_t slot = index & (page_tokens - 1);
    return slot < tokens ? min(tokens - slot, Values) : 0;
  }
};

/// Squared error and norm of what a lane encoded.
struct lane_quality {
  float error = 0, norm = 0;
  bool representable = true;
};

/// Four integers below 256 as floats plus 2^23, in bytes.
__device__ __forceinline__ unsigned pack_bytes(const float* m) {
  const unsigned low = __byte_perm(__float_as_uint(m[0]), __float_as_uint(m[1]), 0x0040);
  const unsigned high = __byte_perm(__float_as_uint(m[2]), __float_as_uint(m[3]), 0x0040);
  return __byte_perm(low, high, 0x5410);
}

/// Writes the nibbles of a lane's values, given as bytes; byte i of a group holds its value i and
/// value i + group / 2. All lanes of the warp call, those whose `active` is false write nothing.
template <int Words>
__device__ __forceinline__ void store_nibbles(std::byte* out, std::uint32_t index,
                                              std::uint32_t group_log2, const unsigned (&q)[Words],
                                              bool active) {
  constexpr std::uint32_t values = 4 * Words;
  constexpr int half_words = Words / 2;
  const std::uint32_t half = 1U << group_log2 >> 1;
  unsigned y[half_words];
  std::uint32_t at = index / 2;
  if (half < values) { // the lane holds the whole group
#pragma unroll
    for (int i = 0; i < half_words; ++i)
      y[i] = q[i] | q[i + half_words] << 4;
  } else { // each of the two lanes writes half of what they have in common
    const bool upper = (index & half) != 0;
#pragma unroll
    for (int i = 0; i < half_words; ++i) {
      const unsigned given = upper ? q[i] : q[i + half_words];
      const unsigned other = __shfl_xor_sync(whole_warp, given, half / values);
      y[i] = upper ? other | q[i + half_words] << 4 : q[i] | other << 4;
    }
    at = (index >> group_log2) * half + (index & (half - 1)) + (upper ? values / 2 : 0);
  }
  if (!active)
    return;
  if constexpr (half_words == 2)
    *in_global(reinterpret_cast<uint2*>(out + at)) = {y[0], y[1]};
  else
    *in_global(reinterpret_cast<unsigned*>(out + at)) = y[0];
}

/// 1 / x for a normal x, rounded to nearest.
__device__ __forceinline__ float reciprocal(float x) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return fmaf(fmaf(-x, r, 1.0F), r, r);
}

/// Smallest and largest filled value of the lane's group, NaN if one is; +inf and -inf for none.
template <bool Full, int Vectors, class T>
__device__ __forceinline__ float2 group_range(const part_of_head<T>& part, std::uint32_t n,
                                              const raw8<T> (&raw)[Vectors],
                                              const float (&x)[Vectors][8]) {
  float2 range{__int_as_float(0x7F800000), -__int_as_float(0x7F800000)};
#pragma unroll
  for (int v = 0; v < Vectors; ++v) {
    if (Full) {
      const float2 r = range_of(raw[v], x[v]);
      range = v == 0 ? r : float2{min_nan(range.x, r.x), max_nan(range.y, r.y)};
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i)
        if (8 * v + i < n)
          range = {min_nan(range.x, x[v][i]), max_nan(range.y, x[v][i])};
    }
  }
  const std::uint32_t lanes = 1U << part.group_log2 >> 3 >> (Vectors - 1); // of a group: 1, 2 or 4
#pragma unroll
  for (std::uint32_t step = 1; step < 4; step *= 2)
    if (step < lanes)
      range = {min_nan(range.x, __shfl_xor_sync(whole_warp, range.x, step)),
               max_nan(range.y, __shfl_xor_sync(whole_warp, range.y, step))};
  return range;
}

/// 8 * Vectors values of each lane as int8 or int4; the whole warp calls. The lane's values begin
/// at `index` and belong to one group; lanes whose `active` is false write nothing.
template <form Target, bool Full, int Vectors, class T>
__device__ __forceinline__ void encode_integers(const part_of_head<T>& part, std::uint32_t index,
                                                bool active, const raw8<T> (&raw)[Vectors],
                                                lane_quality& sums) {
  constexpr float levels = Target == form::int8 ? 255.0F : 15.0F;
  constexpr float magic = 8388608.0F; // 2^23: adding it rounds to an integer in the low bits
  float x[Vectors][8];
#pragma unroll
  for (int v = 0; v < Vectors; ++v)
    widen(raw[v], x[v]);
  const std::uint32_t n = Full ? 8 * Vectors : part.template filled<8 * Vectors>(index);
  const float2 range = group_range<Full, Vectors>(part, n, raw, x);
  const bool empty = !Full && range.x > range.y;
  const bool flat = range.x == range.y;
  const __half low = flat ? __float2half_rn(range.x) : __float2half_rd(empty ? 0.0F : range.x);
  const float base = __half2float(low);
  const float step = divide_by(range.y - base, levels, 1.0F / levels);
  const __half scale16 = flat || empty ? __half(0.0F) : __float2half_ru(step);
  const float scale = __half2float(scale16);
  const float inverse = scale > 0 ? reciprocal(scale) : 0.0F;
  if (active && !empty) // false also where a value is NaN or infinite
    sums.representable &= fabsf(range.x) <= largest_f16 && step <= largest_f16;
  float error = 0, norm = 0;
  unsigned q[2 * Vectors];
#pragma unroll
  for (int v = 0; v < Vectors; ++v) {
    float m[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const bool in = Full || 8 * v + i < n;
      const float value = in ? x[v][i] : base;
      const float y = __fmul_rn(__fsub_rn(value, base), inverse);
      m[i] = __fadd_rn(y, magic);
      const float e = y - (m[i] - magic);
      error = fmaf(e, e, error);
      norm = in ? fmaf(value, value, norm) : norm;
    }
    q[2 * v] = pack_bytes(m);
    q[2 * v + 1] = pack_bytes(m + 4);
  }
  if (flat) { // without a scale the residual is in the values' own units
    error = (range.x - base) * (range.x - base) * static_cast<float>(n);
  } else {
    error *= scale * scale;
  }
  sums.error += active ? error : 0.0F;
  sums.norm += active ? norm : 0.0F;
  if constexpr (Target == form::int4) {
    store_nibbles(part.out, index, part.group_log2, q, active);
  } else if (active) {
    if constexpr (Vectors == 2)
      *in_global(reinterpret_cast<uint4*>(part.out + index)) = {q[0], q[1], q[2], q[3]};
    else
      *in_global(reinterpret_cast<uint2*>(part.out + index)) = {q[0], q[1]};
  }
  if (active && (index & ((1U << part.group_log2) - 1)) == 0)
    in_global(reinterpret_cast<__half2*>(part.scales))[index >> part.group_log2] =
        __halves2half2(scale16, low);
}

/// The largest magnitude of a lane's filled values, NaN if one is.
template <bool Full, class T>
__device__ __forceinline__ float lane_largest(const part_of_head<T>& part, std::uint32_t index,
                                              const raw8<T>& raw) {
  float x[8];
  widen(raw, x);
  if (Full) {
    const float2 range = range_of(raw, x);
    return max_nan(-range.x, range.y);
  }
  const std::uint32_t n = part.template filled<lane_values>(index);
  float top = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i)
    if (i < n)
      top = max_nan(top, fabsf(x[i]));
  return top;
}

template <bool Full, class T>
__device__ __forceinline__ void encode_e4m3(const part_of_head<T>& part, std::uint32_t index,
                                            const raw8<T>& raw, float scale, float inverse,
                                            lane_quality& sums) {
  float x[8];
  widen(raw, x);
  if (!Full) {
    const std::uint32_t n = part.template filled<lane_values>(index);
#pragma unroll
    for (int i = 0; i < 8; ++i)
      x[i] = i < n ? x[i] : 0.0F;
  }
  unsigned w[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float* v = x + 4 * i;
    const unsigned a =
        __nv_cvt_float2_to_fp8x2({v[0] * inverse, v[1] * inverse}, __NV_SATFINITE, __NV_E4M3);
    const unsigned b =
        __nv_cvt_float2_to_fp8x2({v[2] * inverse, v[3] * inverse}, __NV_SATFINITE, __NV_E4M3);
    w[i] = __byte_perm(a, b, 0x5410);
    const float4 q = widen_e4m3(w[i]);
    const float back[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float e = fmaf(-back[j], scale, v[j]);
      sums.error = fmaf(e, e, sums.error);
      sums.norm = fmaf(v[j], v[j], sums.norm);
    }
  }
  *in_global(reinterpret_cast<uint2*>(part.out + index)) = {w[0], w[1]};
}

} // namespace pikv::gpu::cuda
