// SPDX-License-Identifier: Apache-2.0
// clang-format off
#include <pikv/gpu/host/simd_targets.hpp>
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "pikv/gpu/host/kernels_codec.cpp"
#include <hwy/foreach_target.h>
// clang-format on

#include <algorithm>
#include <cmath>
#include <cstring>

#include <pikv/gpu/host/fp8.hpp>
#include <pikv/gpu/host/integer_groups-inl.hpp>
#include <pikv/gpu/host/kernels.hpp>
#include <pikv/gpu/host/page_values-inl.hpp>
#include <pikv/gpu/host/worker_pool.hpp>

HWY_BEFORE_NAMESPACE();
namespace pikv::gpu::HWY_NAMESPACE {

/// Encodes `rows` runs of `n` values, `stride` apart both in `x` and in `out`, under one scale.
HWY_NOINLINE void encode_fp8(const float* x, std::size_t rows, std::size_t n, std::size_t stride,
                             std::byte* out, std::byte* scale_out, quality& sums) {
  float largest = 0;
  float check = 0; // NaN as soon as one value is not finite
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t i = 0; i < n; ++i) {
      largest = std::max(largest, std::abs(x[r * stride + i]));
      check += x[r * stride + i] * 0;
    }
  sums.representable &= check == 0;
  const float scale = detail::e4m3_scale(largest);
  const float inverse = 1 / scale;
  std::memcpy(scale_out, &scale, sizeof scale);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t i = 0; i < n; ++i) {
      const float v = x[r * stride + i];
      const std::uint8_t q = detail::e4m3_from_f32(v * inverse);
      const float e = v - detail::e4m3_values[q] * scale;
      out[r * stride + i] = std::byte{q};
      sums.error[i % full_lanes] += e * e;
      sums.norm[i % full_lanes] += v * v;
    }
}

/// K and V of one head of one page in f32.
struct head_values {
  HWY_ALIGN float k[256 * 64]; ///< `[head_dim, page_tokens]`
  HWY_ALIGN float v[64 * 256]; ///< `[page_tokens, head_dim]`
};

HWY_NOINLINE void encode_head(const cache_dims& dims, const page_layout& to, std::size_t tokens,
                              head_values& x, std::byte* out, codec_error& errors) {
  const std::uint32_t k_bits = to.packing.k_bits;
  const std::uint32_t v_bits = to.packing.v_bits;
  const std::size_t p = dims.page_tokens;
  quality k;
  quality v;
  const auto add = [&] {
    errors.k_error += quality::total(k.error);
    errors.k_norm += quality::total(k.norm);
    errors.v_error += quality::total(v.error);
    errors.v_norm += quality::total(v.norm);
    errors.representable &= k.representable && v.representable;
  };
  if (to.stored == form::fp8) {
    std::memset(out + to.k_offset, 0, dims.head_dim * p);
    encode_fp8(x.k, dims.head_dim, tokens, p, out + to.k_offset, out + to.k_scale_offset, k);
    encode_fp8(x.v, tokens, dims.head_dim, dims.head_dim, out + to.v_offset,
               out + to.v_scale_offset, v);
    return add();
  }
  auto* k_scale = reinterpret_cast<std::uint16_t*>(out + to.k_scale_offset);
  for (std::size_t c = 0; c < dims.head_dim; ++c)
    for (std::size_t t = 0; t < p; t += to.k_group, k_scale += 2) {
      std::byte* at = out + to.k_offset + (c * p + t) * k_bits / 8;
      if (t < tokens)
        encode_group(x.k + c * p + t, std::min<std::size_t>(to.k_group, tokens - t), to.k_group,
                     k_bits, at, k_scale, nullptr, k);
      else
        std::memset(at, 0, to.k_group * k_bits / 8), std::memset(k_scale, 0, 4);
    }
  // A sum over many tokens is what a query sees of V: with errors handed on from token to token
  // they cancel in it. Not with 4 bits and more, where they are small and a GPU encodes alike.
  HWY_ALIGN float carry[256] = {};
  const bool carries = v_bits < 4;
  auto* v_scale = reinterpret_cast<std::uint16_t*>(out + to.v_scale_offset);
  for (std::size_t i = 0; i < tokens * dims.head_dim; i += to.v_group, v_scale += 2)
    encode_group(x.v + i, to.v_group, to.v_group, v_bits, out + to.v_offset + i * v_bits / 8,
                 v_scale, carries ? carry + i % dims.head_dim : nullptr, v);
  add();
}

HWY_NOINLINE void encode_page(const encode_args& a, std::size_t i) {
  head_values x;
  codec_error errors;
  const page_view& page = a.pages[i];
  const page_layout from = layout_of(a.dims, page.stored);
  const page_layout to = layout_of(a.dims, a.target);
  for (std::size_t h = 0; h < a.dims.kv_heads && page.data != nullptr; ++h) {
    const std::byte* head = page.data + h * from.head_bytes;
    widen_k(a.dims, from, head, x.k, a.dims.page_tokens);
    widen_v(a.dims, from, head, page.tokens, x.v);
    encode_head(a.dims, to, page.tokens, x, a.out[i] + h * to.head_bytes, errors);
  }
  a.errors[i] = errors;
}

void encode(const encode_args& a, executor& exec) {
  exec.run(a.pages.size(), [&](std::size_t i, std::size_t) { encode_page(a, i); });
}

HWY_NOINLINE void decode_page(const decode_args& a, std::size_t i) {
  const page_view& page = a.pages[i];
  if (page.data == nullptr)
    return;
  const page_layout from = layout_of(a.dims, page.stored);
  const page_layout to = layout_of(a.dims, a.target);
  if (page.stored == a.target) {
    std::memcpy(a.out[i], page.data, from.page_bytes);
    return;
  }
  const full_f32 d;
  head_values x;
  const std::size_t k_values = std::size_t{a.dims.head_dim} * a.dims.page_tokens;
  const std::size_t v_values = std::size_t{a.dims.head_dim} * page.tokens;
  for (std::size_t h = 0; h < a.dims.kv_heads; ++h) {
    widen_k(a.dims, from, page.data + h * from.head_bytes, x.k, a.dims.page_tokens);
    widen_v(a.dims, from, page.data + h * from.head_bytes, page.tokens, x.v);
    std::byte* out = a.out[i] + h * to.head_bytes;
    with_raw_type(a.target, [&](auto tag) HWY_ATTR {
      auto* k = reinterpret_cast<decltype(tag)*>(out + to.k_offset);
      auto* v = reinterpret_cast<decltype(tag)*>(out + to.v_offset);
      for (std::size_t j = 0; j < k_values; j += full_lanes)
        store_f32(d, hn::Load(d, x.k + j), k + j);
      for (std::size_t j = 0; j < v_values; j += full_lanes)
        store_f32(d, hn::Load(d, x.v + j), v + j);
    });
  }
}

void decode(const decode_args& a, executor& exec) {
  exec.run(a.pages.size(), [&](std::size_t i, std::size_t) { decode_page(a, i); });
}

} // namespace pikv::gpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pikv::gpu {
HWY_EXPORT(encode);
HWY_EXPORT(decode);

void detail::host_encode(const encode_args& args, executor& exec) noexcept {
  HWY_DYNAMIC_DISPATCH(encode)(args, exec);
}

void detail::host_decode(const decode_args& args, executor& exec) noexcept {
  HWY_DYNAMIC_DISPATCH(decode)(args, exec);
}

} // namespace pikv::gpu
#endif
