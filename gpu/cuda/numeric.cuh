// SPDX-License-Identifier: Apache-2.0
/// \file
/// Conversions between stored elements and arithmetic, shared by the CUDA kernels. Packed results
/// hold two f16 in one 32-bit register, the first in the low half.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <pikv/messages/types.hpp>

namespace pikv::gpu::cuda {

__device__ __forceinline__ float to_f32(float x) { return x; }
__device__ __forceinline__ float to_f32(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_f32(__nv_bfloat16 x) { return __bfloat162float(x); }

/// Rounds to nearest, ties to even.
template <class T>
__device__ __forceinline__ T from_f32(float x);
template <>
__device__ __forceinline__ float from_f32<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ __half from_f32<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_f32<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

/// Element `i` of an array of `type` in f32.
__device__ __forceinline__ float load_f32(const std::byte* p, dtype type, std::uint64_t i) {
  if (type == dtype::f32)
    return reinterpret_cast<const float*>(p)[i];
  if (type == dtype::f16)
    return to_f32(reinterpret_cast<const __half*>(p)[i]);
  return to_f32(reinterpret_cast<const __nv_bfloat16*>(p)[i]);
}

__device__ __forceinline__ void store_f32(std::byte* p, dtype type, std::uint64_t i, float x) {
  if (type == dtype::f32)
    reinterpret_cast<float*>(p)[i] = x;
  else if (type == dtype::f16)
    reinterpret_cast<__half*>(p)[i] = from_f32<__half>(x);
  else
    reinterpret_cast<__nv_bfloat16*>(p)[i] = from_f32<__nv_bfloat16>(x);
}

/// Calls `f` with a value of the C++ type of `type`: `f(float{})`, `f(__half{})`, ...
template <class F>
__host__ __device__ __forceinline__ decltype(auto) with_dtype(dtype type, F&& f) {
  if (type == dtype::f32)
    return f(float{});
  if (type == dtype::f16)
    return f(__half{});
  return f(__nv_bfloat16{});
}

__device__ __forceinline__ std::uint32_t bits_of(__half2 x) {
  return reinterpret_cast<const std::uint32_t&>(x);
}
__device__ __forceinline__ std::uint32_t bits_of(__nv_bfloat162 x) {
  return reinterpret_cast<const std::uint32_t&>(x);
}
__device__ __forceinline__ __half2 half2_of(std::uint32_t bits) {
  return reinterpret_cast<const __half2&>(bits);
}

__device__ __forceinline__ std::uint32_t pack_f16(float low, float high) {
  return bits_of(__floats2half2_rn(low, high));
}
__device__ __forceinline__ std::uint32_t pack_bf16(float low, float high) {
  return bits_of(__floats2bfloat162_rn(low, high));
}

/// e4m3 as PiKV stores it: saturating, no infinities.
__device__ __forceinline__ float f32_from_e4m3(std::uint8_t x) {
  return __half2float(__half(__nv_cvt_fp8_to_halfraw(x, __NV_E4M3)));
}
__device__ __forceinline__ std::uint8_t e4m3_from_f32(float x) {
  return __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
}
/// The two e4m3 in the low 16 bits.
__device__ __forceinline__ std::uint32_t f16x2_from_e4m3x2(std::uint32_t x) {
#if __CUDA_ARCH__ >= 890
  std::uint32_t y;
  asm("{ .reg .b16 t; cvt.u16.u32 t, %1; cvt.rn.f16x2.e4m3x2 %0, t; }" : "=r"(y) : "r"(x));
  return y;
#else
  // The same fields at f16's place, 8 exponent steps too small.
  const std::uint32_t spread = __byte_perm(x, 0, 0x1404);
  const std::uint32_t fields = (spread & 0x80008000) | (spread & 0x7F007F00) >> 1;
  return bits_of(__hmul2(half2_of(fields), half2_of(0x5C005C00)));
#endif
}

// An unsigned byte under the exponent byte 0x64 is the f16 1024 + x; a nibble in bits 4 to 7 under
// 0x54 is 64 + x. Both differences below are exact.

/// Bytes `x[i]` and `x[j]` as f16, where the selector is 0x4j4i.
template <unsigned Selector>
__device__ __forceinline__ std::uint32_t f16x2_from_bytes(std::uint32_t x) {
  return bits_of(__hsub2(half2_of(__byte_perm(x, 0x64646464, Selector)), half2_of(0x64006400)));
}

/// x & mask | bits as one instruction: with two constants the compiler takes two.
__device__ __forceinline__ std::uint32_t and_or(std::uint32_t x, std::uint32_t mask,
                                                std::uint32_t bits) {
  std::uint32_t y;
  asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(y) : "r"(x), "r"(mask), "r"(bits));
  return y;
}

/// Bits 0 to 3 of each half as f16.
__device__ __forceinline__ std::uint32_t f16x2_from_low_nibbles(std::uint32_t x) {
  return bits_of(__hsub2(half2_of(and_or(x, 0x000F000F, 0x64006400)), half2_of(0x64006400)));
}

/// Bits 4 to 7 of each half as f16.
__device__ __forceinline__ std::uint32_t f16x2_from_high_nibbles(std::uint32_t x) {
  return bits_of(__hsub2(half2_of(and_or(x, 0x00F000F0, 0x54005400)), half2_of(0x54005400)));
}

/// x * scale + min, all packed f16.
__device__ __forceinline__ std::uint32_t affine(std::uint32_t x, std::uint32_t scale,
                                                std::uint32_t min) {
  return bits_of(__hfma2(half2_of(x), half2_of(scale), half2_of(min)));
}

} // namespace pikv::gpu::cuda
