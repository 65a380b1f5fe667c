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
    *reinterpret_cast<uint2*>(out + at) = {y[0], y[1]};
  else
    *reinterpret_cast<unsigned*>(out + at) = y[0];
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
  for (std::uint32_t step = 1; step < 1U << part.group_log2 >> 3 >> (Vectors - 1); step *= 2)
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
  constexpr float infinite = __builtin_huge_valf();
  float x[Vectors][8];
#pragma unroll
  for (int v = 0; v < Vectors; ++v)
    widen(raw[v], x[v]);
  const std::uint32_t n = Full ? 8 * Vectors : part.template filled<8 * Vectors>(index);
  const float2 range = group_range<Full, Vectors>(part, n, raw, x);
  const bool empty = !Full && range.x > range.y;
  const bool flat = range.x == range.y;
  const __half low = flat ? __float2half_rn(range.x) : f16_below(empty ? 0.0F : range.x);
  const float base = __half2float(low);
  const float step = divide_by(range.y - base, levels, 1.0F / levels);
  const __half scale16 = flat || empty ? __half(0.0F) : f16_above(step);
  const float scale = __half2float(scale16);
  const float inverse = scale > 0 ? reciprocal(scale) : 0.0F;
  if (active && !empty) // false also where one is NaN
    sums.representable &= fabsf(range.x) <= largest_f16 && step <= largest_f16 && range.y < infinite;
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
      *reinterpret_cast<uint4*>(part.out + index) = {q[0], q[1], q[2], q[3]};
    else
      *reinterpret_cast<uint2*>(part.out + index) = {q[0], q[1]};
  }
  if (active && (index & ((1U << part.group_log2) - 1)) == 0)
    reinterpret_cast<__half2*>(part.scales)[index >> part.group_log2] =
        __halves2half2(scale16, low);
}

/// The largest magnitude of a lane's filled values, NaN if one is.
template <class T>
__device__ __forceinline__ float lane_largest(const part_of_head<T>& part, std::uint32_t index,
                                              const raw8<T>& raw) {
  float x[8];
  widen(raw, x);
  const std::uint32_t n = part.template filled<lane_values>(index);
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
  const std::uint32_t n = part.template filled<lane_values>(index);
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

/// The tiles that a warp takes of a part: every `step`-th from `first` on.
struct warp_tiles {
  std::uint32_t first = 0, step = 1;
};

/// Calls f(index, active, raw) for the lane's 8 * Vectors values of the warp's tiles, `Batch` loads
/// at once. A tile may reach beyond the part: lanes there are not active.
template <int Batch, int Vectors, class T, class F>
__device__ __forceinline__ void for_tiles(const part_of_head<T>& part, warp_tiles w, F&& f) {
  constexpr std::uint32_t values = tile_values * Vectors;
  for (std::uint32_t tile = w.first; tile * values < part.values; tile += Batch * w.step) {
    raw8<T> raw[Batch][Vectors];
    const std::uint32_t index = tile * values + lane_id() * lane_values * Vectors;
#pragma unroll
    for (int j = 0; j < Batch; ++j) {
      const std::uint32_t at = index + j * w.step * values;
#pragma unroll
      for (int v = 0; v < Vectors; ++v)
        if (at < part.values)
          raw[j][v] = load_raw8(part.in + at + v * lane_values);
    }
#pragma unroll
    for (int j = 0; j < Batch; ++j)
      if ((tile + j * w.step) * values < part.values)
        f(index + j * w.step * values, index + j * w.step * values < part.values, raw[j]);
  }
}

/// Encodes the warp's tiles of one part as int8 or int4; the whole warp calls.
template <form Target, int Batch, class T>
__device__ __forceinline__ void encode_part(const part_of_head<T>& part, warp_tiles w,
                                            lane_quality& sums) {
  const auto encode = [&](auto full, auto vectors) {
    constexpr int n = decltype(vectors)::value;
    for_tiles<Batch / n, n>(part, w, [&](std::uint32_t index, bool active, const auto& raw) {
      encode_integers<Target, decltype(full)::value, n>(part, index, active, raw, sums);
    });
  };
  using one = std::integral_constant<int, 1>;
  using two = std::integral_constant<int, 2>;
  const bool full = part.tokens == part.page_tokens;
  if (part.group_log2 == 3)
    full ? encode(std::true_type{}, one{}) : encode(std::false_type{}, one{});
  else
    full ? encode(std::true_type{}, two{}) : encode(std::false_type{}, two{});
}

/// Encodes the warp's tiles of one part as fp8; `largest_of` turns the largest magnitude among the
/// lane's values, NaN if one is, into the largest of the part.
template <int Batch, class T, class F>
__device__ __forceinline__ void encode_part_fp8(const part_of_head<T>& part, warp_tiles w,
                                                F&& largest_of, lane_quality& sums) {
  float top = 0;
  for_tiles<Batch, 1>(part, w, [&](std::uint32_t index, bool, const auto& raw) {
    top = max_nan(top, lane_largest(part, index, raw[0]));
  });
  top = largest_of(top);
  sums.representable &= top < __builtin_huge_valf();
  // A scale below the normal floats has no finite inverse.
  const float scale = top > 0 ? fmaxf(__fdiv_rn(top, largest_e4m3), 0x1p-126F) : 1.0F;
  if (w.first == 0 && lane_id() == 0)
    *reinterpret_cast<float*>(part.scales) = scale;
  for_tiles<Batch, 1>(part, w, [&](std::uint32_t index, bool, const auto& raw) {
    encode_e4m3(part, index, raw[0], scale, sums); // the second read comes from L1
  });
}

/// The largest over the warp, NaN if one is.
__device__ __forceinline__ float warp_largest(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2)
    x = max_nan(x, __shfl_xor_sync(whole_warp, x, step));
  return x;
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
