// SPDX-License-Identifier: Apache-2.0
// One head of one page, of any form, as f32. Compiled once per target.
#if defined(PIKV_GPU_HOST_PAGE_VALUES_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef PIKV_GPU_HOST_PAGE_VALUES_INL
#undef PIKV_GPU_HOST_PAGE_VALUES_INL
#else
#define PIKV_GPU_HOST_PAGE_VALUES_INL
#endif

#include <algorithm>
#include <cstring>

#include <pikv/gpu/host/fp8.hpp>
#include <pikv/gpu/host/simd-inl.hpp>
#include <pikv/gpu/page_layout.hpp>

HWY_BEFORE_NAMESPACE();
namespace pikv::gpu::HWY_NAMESPACE {

/// `f` with a value of the raw form's element type.
template <class F>
HWY_INLINE void with_raw_type(form stored, F&& f) {
  switch (stored) {
  case form::f16: return f(f16{});
  case form::bf16: return f(bf16{});
  default: return f(float{});
  }
}

/// f32 copies of `rows` runs of `n` elements; n is a multiple of D's lanes.
template <class D, class T>
HWY_INLINE void widen_rows(D d, const T* in, std::size_t in_stride, std::size_t rows, std::size_t n,
                           float* out, std::size_t out_stride) {
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t i = 0; i < n; i += hn::Lanes(d))
      hn::StoreU(load_f32(d, in + r * in_stride + i), d, out + r * out_stride + i);
}

/// All f16 of a scale array as f32; `n` is a multiple of 16.
HWY_INLINE void widen_scales(const std::byte* scales, std::size_t n, float* out) {
  const full_f32 d;
  const auto* in = reinterpret_cast<const f16*>(scales);
  for (std::size_t i = 0; i < n; i += hn::Lanes(d))
    hn::StoreU(load_f32(d, in + i), d, out + i);
}

/// The integers of one group of 2 or 3 bits (page_layout.hpp) as bytes; n is 8, 16, 32 or 64.
HWY_INLINE void unpack_bits(const std::uint8_t* in, std::size_t n, std::uint32_t bits,
                            std::uint8_t* q) {
  for (std::size_t j = 0; j < 4; ++j)
    for (std::size_t i = 0; i < n / 4; ++i)
      q[j * (n / 4) + i] = static_cast<std::uint8_t>(in[i] >> (2 * j) & 3);
  if (bits == 2)
    return;
  for (std::size_t j = 0; j < 8; ++j)
    for (std::size_t i = 0; i < n / 8; ++i)
      q[j * (n / 8) + i] |= static_cast<std::uint8_t>((in[n / 4 + i] >> j & 1) << 2);
}

/// One group of quantised values that share a scale, `D`'s lanes at a time. Below 8 bits `n` is the
/// whole group; both nibble halves of int4 are multiples of the lanes.
template <class D>
HWY_INLINE void dequantise_group(D d, const std::uint8_t* in, std::size_t n, std::uint32_t bits,
                                 const float* scale_min, float* out) {
  const auto scale = hn::Set(d, scale_min[0]);
  const auto low = hn::Set(d, scale_min[1]);
  std::uint8_t unpacked[64];
  if (bits < 4) {
    unpack_bits(in, n, bits, unpacked);
    in = unpacked;
  }
  if (bits != 4) {
    for (std::size_t i = 0; i < n; i += hn::Lanes(d))
      hn::StoreU(hn::MulAdd(load_f32(d, in + i), scale, low), d, out + i);
    return;
  }
  const hn::RebindToSigned<D> di;
  const hn::RebindToUnsigned<D> du;
  for (std::size_t i = 0; i < n / 2; i += hn::Lanes(d)) {
    const auto both =
        hn::BitCast(du, hn::PromoteTo(di, hn::LoadU(hn::Rebind<std::uint8_t, D>(), in + i)));
    const auto first = hn::ConvertTo(d, hn::BitCast(di, hn::And(both, hn::Set(du, 15))));
    const auto second = hn::ConvertTo(d, hn::BitCast(di, hn::ShiftRight<4>(both)));
    hn::StoreU(hn::MulAdd(first, scale, low), d, out + i);
    hn::StoreU(hn::MulAdd(second, scale, low), d, out + n / 2 + i);
  }
}

/// `n` values of fp8 that share a scale.
HWY_INLINE void dequantise_fp8(const std::byte* in, std::size_t n, const std::byte* scale,
                               float* out) {
  float factor;
  std::memcpy(&factor, scale, sizeof factor);
  for (std::size_t i = 0; i < n; ++i)
    out[i] = detail::e4m3_values[std::to_integer<std::uint8_t>(in[i])] * factor;
}

/// K of one head as f32 `[head_dim, stride]`; all page_tokens columns are written.
template <class D>
HWY_INLINE void widen_k_lanes(D d, const cache_dims& dims, const page_layout& lay,
                              const std::byte* head, float* out, std::size_t stride) {
  const std::size_t p = dims.page_tokens;
  if (is_raw(lay.stored)) {
    with_raw_type(lay.stored, [&](auto tag) HWY_ATTR {
      const auto* in = reinterpret_cast<const decltype(tag)*>(head + lay.k_offset);
      widen_rows(d, in, p, dims.head_dim, p, out, stride);
    });
    return;
  }
  if (lay.stored == form::fp8) {
    for (std::size_t c = 0; c < dims.head_dim; ++c)
      dequantise_fp8(head + lay.k_offset + c * p, p, head + lay.k_scale_offset, out + c * stride);
    return;
  }
  HWY_ALIGN float scales[256 * 2 * 2];
  const std::size_t groups = p / lay.k_group;
  widen_scales(head + lay.k_scale_offset, dims.head_dim * groups * 2, scales);
  const std::uint32_t bits = lay.packing.k_bits;
  const std::size_t group_bytes = lay.k_group * bits / 8;
  const auto* in = reinterpret_cast<const std::uint8_t*>(head + lay.k_offset);
  for (std::size_t c = 0; c < dims.head_dim; ++c)
    for (std::size_t g = 0; g < groups; ++g)
      dequantise_group(d, in + (c * groups + g) * group_bytes, lay.k_group, bits,
                       scales + (c * groups + g) * 2, out + c * stride + g * lay.k_group);
}

/// A vector type whose lanes divide every run of K: half a group of 4 bits, else a page's tokens.
HWY_INLINE void widen_k(const cache_dims& dims, const page_layout& lay, const std::byte* head,
                        float* out, std::size_t stride) {
  const std::size_t run = lay.packing.k_bits == 4 ? lay.k_group / 2 : dims.page_tokens;
  if (run >= 16)
    widen_k_lanes(full_f32(), dims, lay, head, out, stride);
  else if (run == 8)
    widen_k_lanes(hn::CappedTag<float, 8>(), dims, lay, head, out, stride);
  else
    widen_k_lanes(hn::CappedTag<float, 4>(), dims, lay, head, out, stride);
}

/// V of one head's first `tokens` slots as f32 `[tokens, head_dim]`.
HWY_INLINE void widen_v(const cache_dims& dims, const page_layout& lay, const std::byte* head,
                        std::size_t tokens, float* out) {
  const full_f32 d;
  const std::size_t dim = dims.head_dim;
  if (is_raw(lay.stored)) {
    with_raw_type(lay.stored, [&](auto tag) HWY_ATTR {
      const auto* in = reinterpret_cast<const decltype(tag)*>(head + lay.v_offset);
      widen_rows(d, in, dim, tokens, dim, out, dim);
    });
    return;
  }
  if (lay.stored == form::fp8)
    return dequantise_fp8(head + lay.v_offset, tokens * dim, head + lay.v_scale_offset, out);
  HWY_ALIGN float scales[64 * 8 * 2 + 16];
  const std::size_t groups = tokens * (dim / lay.v_group);
  widen_scales(head + lay.v_scale_offset, (groups * 2 + 15) / 16 * 16, scales);
  const std::uint32_t bits = lay.packing.v_bits;
  const std::size_t group_bytes = lay.v_group * bits / 8;
  const auto* in = reinterpret_cast<const std::uint8_t*>(head + lay.v_offset);
  for (std::size_t g = 0; g < groups; ++g)
    dequantise_group(d, in + g * group_bytes, lay.v_group, bits, scales + g * 2,
                     out + g * lay.v_group);
}

} // namespace pikv::gpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
