// SPDX-License-Identifier: Apache-2.0
/// \file
/// Encoding the K or V of one head by one warp. Bytes and scales equal those of the host kernels.
#pragma once

#include <bit>

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
