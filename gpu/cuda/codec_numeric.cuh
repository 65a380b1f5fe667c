// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the kernels on page bytes share: eight values a lane at a time in any element type, bounds
/// in f16, and the offsets of all forms as a kernel parameter.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <pikv/gpu/kernels.hpp>

namespace pikv::gpu::cuda {

inline constexpr unsigned whole_warp = 0xFFFFFFFFU;
inline constexpr std::uint32_t warp_lanes = 32;
inline constexpr std::uint32_t lane_values = 8; ///< that a lane takes at once
inline constexpr std::uint32_t tile_values =
    warp_lanes * lane_values; ///< divides K and V of a head
inline constexpr float largest_f16 = 65504.0F;
inline constexpr float largest_e4m3 = 448.0F;

/// Offsets from the begin of a head's part, in bytes; K is at 0.
struct head_offsets {
  std::uint32_t v = 0, k_scale = 0, v_scale = 0;
  std::uint32_t bytes = 0; ///< of the head
};

/// The offsets of every form, by form.
struct form_offsets {
  head_offsets of[form_count];
};

inline form_offsets offsets_of(const cache_dims& dims) noexcept {
  form_offsets x;
  for (std::size_t i = 0; i < form_count; ++i) {
    const page_layout lay = layout_of(dims, static_cast<form>(i));
    x.of[i] = {
        static_cast<std::uint32_t>(lay.v_offset), static_cast<std::uint32_t>(lay.k_scale_offset),
        static_cast<std::uint32_t>(lay.v_scale_offset), static_cast<std::uint32_t>(lay.head_bytes)};
  }
  return x;
}

/// Lane's eight values of an element type as loaded.
template <class T>
struct raw8 {
  uint4 bits[sizeof(T) / 2];
};

/// Tells the compiler that `p` is in global memory, which it cannot see of an address from memory.
template <class T>
__device__ __forceinline__ T* in_global(T* p) {
  __builtin_assume(__isGlobal(p));
  return p;
}

template <class T>
__device__ __forceinline__ raw8<T> load_raw8(const T* p) {
  raw8<T> x;
#pragma unroll
  for (std::size_t i = 0; i < sizeof(T) / 2; ++i)
    x.bits[i] = reinterpret_cast<const uint4*>(p)[i];
  return x;
}

template <class T>
__device__ __forceinline__ void store_raw8(T* p, const raw8<T>& x) {
#pragma unroll
  for (std::size_t i = 0; i < sizeof(T) / 2; ++i)
    reinterpret_cast<uint4*>(p)[i] = x.bits[i];
}

__device__ __forceinline__ void widen(const raw8<float>& x, float (&y)[8]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    y[4 * i] = __uint_as_float(x.bits[i].x);
    y[4 * i + 1] = __uint_as_float(x.bits[i].y);
    y[4 * i + 2] = __uint_as_float(x.bits[i].z);
    y[4 * i + 3] = __uint_as_float(x.bits[i].w);
  }
}

__device__ __forceinline__ void widen(const raw8<__half>& x, float (&y)[8]) {
  const unsigned w[4] = {x.bits[0].x, x.bits[0].y, x.bits[0].z, x.bits[0].w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 f = __half22float2(reinterpret_cast<const __half2&>(w[i]));
    y[2 * i] = f.x;
    y[2 * i + 1] = f.y;
  }
}

__device__ __forceinline__ void widen(const raw8<__nv_bfloat16>& x, float (&y)[8]) {
  const unsigned w[4] = {x.bits[0].x, x.bits[0].y, x.bits[0].z, x.bits[0].w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    y[2 * i] = __uint_as_float(w[i] << 16);
    y[2 * i + 1] = __uint_as_float(w[i] & 0xFFFF0000U);
  }
}

__device__ __forceinline__ unsigned pack_pair(float x, float y, __half) {
  const __half2 h = __floats2half2_rn(x, y);
  return reinterpret_cast<const unsigned&>(h);
}
__device__ __forceinline__ unsigned pack_pair(float x, float y, __nv_bfloat16) {
  const __nv_bfloat162 h = __floats2bfloat162_rn(x, y);
  return reinterpret_cast<const unsigned&>(h);
}

template <class T>
__device__ __forceinline__ raw8<T> narrow(const float (&y)[8]) {
  raw8<T> x;
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int i = 0; i < 2; ++i)
      x.bits[i] = {__float_as_uint(y[4 * i]), __float_as_uint(y[4 * i + 1]),
                   __float_as_uint(y[4 * i + 2]), __float_as_uint(y[4 * i + 3])};
  } else {
    x.bits[0] = {pack_pair(y[0], y[1], T{}), pack_pair(y[2], y[3], T{}), pack_pair(y[4], y[5], T{}),
                 pack_pair(y[6], y[7], T{})};
  }
  return x;
}

/// Four values of e4m3.
__device__ __forceinline__ float4 widen_e4m3(unsigned bytes) {
  const __half2 a(__nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(bytes), __NV_E4M3));
  const __half2 b(
      __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(bytes >> 16), __NV_E4M3));
  const float2 x = __half22float2(a), y = __half22float2(b);
  return {x.x, x.y, y.x, y.y};
}

/// NaN wins, unlike in fminf and fmaxf.
__device__ __forceinline__ float min_nan(float x, float y) {
  float z;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
}
__device__ __forceinline__ float max_nan(float x, float y) {
  float z;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
}

/// Smallest and largest of a lane's values, NaN if one is.
template <class T>
__device__ __forceinline__ float2 range_of(const raw8<T>& raw, const float (&x)[8]) {
  if constexpr (sizeof(T) == 4) {
    float2 r{x[0], x[0]};
#pragma unroll
    for (int i = 1; i < 8; ++i)
      r = {min_nan(r.x, x[i]), max_nan(r.y, x[i])};
    return r;
  } else {
    using pair = std::conditional_t<std::is_same_v<T, __half>, __half2, __nv_bfloat162>;
    const auto& a = reinterpret_cast<const pair&>(raw.bits[0].x);
    const auto& b = reinterpret_cast<const pair&>(raw.bits[0].y);
    const auto& c = reinterpret_cast<const pair&>(raw.bits[0].z);
    const auto& d = reinterpret_cast<const pair&>(raw.bits[0].w);
    const pair low = __hmin2_nan(__hmin2_nan(a, b), __hmin2_nan(c, d));
    const pair high = __hmax2_nan(__hmax2_nan(a, b), __hmax2_nan(c, d));
    if constexpr (std::is_same_v<T, __half>) {
      const float2 l = __half22float2(low), h = __half22float2(high);
      return {min_nan(l.x, l.y), max_nan(h.x, h.y)};
    } else {
      const float2 l = __bfloat1622float2(low), h = __bfloat1622float2(high);
      return {min_nan(l.x, l.y), max_nan(h.x, h.y)};
    }
  }
}

/// The largest finite f16 <= x and the smallest >= x, or the finite one at that end.
__device__ __forceinline__ __half f16_below(float x) {
  return __float2half_rd(fminf(fmaxf(x, -largest_f16), largest_f16));
}
__device__ __forceinline__ __half f16_above(float x) {
  return __float2half_ru(fminf(fmaxf(x, -largest_f16), largest_f16));
}

/// x / y for a constant y whose reciprocal is rounded once: rounded to nearest.
__device__ __forceinline__ float divide_by(float x, float y, float reciprocal) {
  const float q = x * reciprocal;
  return fmaf(fmaf(-q, y, x), reciprocal, q);
}

__device__ __forceinline__ std::uint32_t lane_id() { return threadIdx.x % warp_lanes; }
__device__ __forceinline__ std::uint32_t warp_id() { return threadIdx.x / warp_lanes; }

/// Asks for `bytes` from `p` on ahead of their use; the warp calls.
__device__ __forceinline__ void prefetch_warp(const void* p, std::uint32_t bytes) {
  constexpr std::uint32_t line = 128;
  for (std::uint32_t at = lane_id() * line; at < bytes; at += warp_lanes * line)
    asm volatile("prefetch.global.L1 [%0];" ::"l"(static_cast<const char*>(p) + at));
}

template <class T>
__device__ __forceinline__ T warp_sum(T x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2)
    x += __shfl_xor_sync(whole_warp, x, step);
  return x;
}

/// `f` with a value of the raw form's element type, on the host or the device.
template <class F>
__host__ __device__ __forceinline__ void with_raw(form stored, F&& f) {
  switch (stored) {
  case form::f16: return f(__half{});
  case form::bf16: return f(__nv_bfloat16{});
  default: return f(float{});
  }
}

} // namespace pikv::gpu::cuda
