// SPDX-License-Identifier: Apache-2.0
/// \file
/// Eight values of a page's K or V as f32, whatever its form. Loads and arithmetic are apart, so
/// that a lane can have several loads in flight.
#pragma once

#include <pikv/gpu/cuda/codec_numeric.cuh>

namespace pikv::gpu::cuda {

/// Where one head's K or V lies.
struct coded_part {
  const std::byte* values = nullptr;
  const std::byte* scales = nullptr;
  std::uint32_t group_log2 = 0; ///< of the values that share a scale in int8 and int4
};

/// What one lane loads for eight values.
template <form Stored>
struct fetched8 {
  uint2 bytes;       ///< int4: the bytes whose nibbles hold the values
  __half2 scale_min; ///< of the values' group
  unsigned shift;    ///< int4: of the nibbles; 8: the second four values are in the first word
};
template <>
struct fetched8<form::fp8> {
  uint2 bytes;
  float scale;
};
template <>
struct fetched8<form::f32> {
  raw8<float> raw;
};
template <>
struct fetched8<form::f16> {
  raw8<__half> raw;
};
template <>
struct fetched8<form::bf16> {
  raw8<__nv_bfloat16> raw;
};

/// Loads for the values `index ... index + 8`; index is a multiple of 8.
template <form Stored>
__device__ __forceinline__ fetched8<Stored> fetch8(const coded_part& p, std::uint32_t index) {
  fetched8<Stored> x;
  if constexpr (is_raw(Stored)) {
    using T = std::conditional_t<Stored == form::f32, float,
                                 std::conditional_t<Stored == form::f16, __half, __nv_bfloat16>>;
    x.raw = load_raw8(in_global(reinterpret_cast<const T*>(p.values) + index));
  } else if constexpr (Stored == form::fp8) {
    x.bytes = *in_global(reinterpret_cast<const uint2*>(p.values + index));
    x.scale = *in_global(reinterpret_cast<const float*>(p.scales));
  } else {
    x.scale_min = in_global(reinterpret_cast<const __half2*>(p.scales))[index >> p.group_log2];
    if constexpr (Stored == form::int8) {
      x.bytes = *in_global(reinterpret_cast<const uint2*>(p.values + index));
    } else if (p.group_log2 == 3) {
      x.bytes = {*in_global(reinterpret_cast<const unsigned*>(p.values + index / 2)), 0};
      x.shift = 8;
    } else { // both halves of a group read its bytes, each keeps its nibbles
      const std::uint32_t half = 1U << p.group_log2 >> 1;
      x.bytes = *in_global(reinterpret_cast<const uint2*>(p.values + (index >> p.group_log2) * half
                                                          + (index & (half - 1))));
      x.shift = (index & half) != 0 ? 4 : 0;
    }
  }
  return x;
}

template <form Stored>
__device__ __forceinline__ void widen(const fetched8<Stored>& x, float (&y)[8]) {
  if constexpr (is_raw(Stored)) {
    widen(x.raw, y);
  } else if constexpr (Stored == form::fp8) {
    const float4 a = widen_e4m3(x.bytes.x), b = widen_e4m3(x.bytes.y);
    y[0] = a.x * x.scale, y[1] = a.y * x.scale, y[2] = a.z * x.scale, y[3] = a.w * x.scale;
    y[4] = b.x * x.scale, y[5] = b.y * x.scale, y[6] = b.z * x.scale, y[7] = b.w * x.scale;
  } else {
    const float2 sm = __half22float2(x.scale_min);
    unsigned w[2] = {x.bytes.x, x.bytes.y};
    if (Stored == form::int4) {
      constexpr unsigned nibbles = 0x0F0F0F0FU;
      w[1] = (x.shift == 8 ? w[0] >> 4 : w[1] >> x.shift) & nibbles;
      w[0] = (x.shift == 8 ? w[0] : w[0] >> x.shift) & nibbles;
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      // A byte under the exponent of 2^23 is its value plus 2^23.
      const unsigned bits = __byte_perm(w[i / 4], 0x4B000000U, 0x7440U + i % 4);
      y[i] = fmaf(__uint_as_float(bits) - 8388608.0F, sm.x, sm.y);
    }
  }
}

/// The K or V of one head of an encoded or raw page.
__device__ __forceinline__ coded_part coded_at(const std::byte* head, const head_offsets& at,
                                               std::uint32_t k_group_log2, bool is_k) {
  return {head + (is_k ? 0 : at.v), head + (is_k ? at.k_scale : at.v_scale),
          is_k ? k_group_log2 : 5};
}

/// `f` with a form as a constant.
template <class F>
__device__ __forceinline__ void with_form(form stored, F&& f) {
  switch (stored) {
  case form::f32: return f(std::integral_constant<form, form::f32>{});
  case form::f16: return f(std::integral_constant<form, form::f16>{});
  case form::bf16: return f(std::integral_constant<form, form::bf16>{});
  case form::int8: return f(std::integral_constant<form, form::int8>{});
  case form::int4: return f(std::integral_constant<form, form::int4>{});
  case form::fp8: return f(std::integral_constant<form, form::fp8>{});
  case form::int3:
  case form::int2:
  case form::k4v2:
  case form::k3v2: return; // not among held_forms
  }
}

} // namespace pikv::gpu::cuda
