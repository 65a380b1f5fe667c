// SPDX-License-Identifier: Apache-2.0
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "moe_engine/vector_math.cpp"
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include <moe_engine/fast_exp-inl.hpp>
#include <moe_engine/half.hpp>
#include <moe_engine/vector_math.hpp>

HWY_BEFORE_NAMESPACE();
namespace pikv::moe_engine::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using row_tag = hn::CappedTag<float, 16>;

/// Calls f(d, i) for whole vectors of [0, n), then one element at a time.
template <class F>
HWY_INLINE void for_each_vector(std::size_t n, F&& f) {
  const row_tag d;
  const auto lanes = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes)
    f(d, i);
  for (; i < n; ++i)
    f(hn::CappedTag<float, 1>{}, i);
}

void rms_norm_row(const float* x, const float* w, std::size_t n, float epsilon, float* out) {
  const row_tag d;
  const auto lanes = hn::Lanes(d);
  auto squares = hn::Zero(d);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto v = hn::LoadU(d, x + i);
    squares = hn::MulAdd(v, v, squares);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, squares));
  for (; i < n; ++i)
    sum += x[i] * x[i];
  const float scale = 1.0F / std::sqrt(sum / static_cast<float>(n) + epsilon);
  for_each_vector(n, [&](auto t, std::size_t j) {
    hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(t, x + j), hn::Set(t, scale)), hn::LoadU(t, w + j)), t,
               out + j);
  });
}

void add_scaled_row(float a, const float* x, std::size_t n, float* y) {
  for_each_vector(n, [&](auto d, std::size_t i) {
    hn::StoreU(hn::MulAdd(hn::Set(d, a), hn::LoadU(d, x + i), hn::LoadU(d, y + i)), d, y + i);
  });
}

void silu_multiply_row(float* gate, const float* up, std::size_t n) {
  for_each_vector(n, [&](auto d, std::size_t i) {
    const auto g = hn::LoadU(d, gate + i);
    // Capped so that the power stays finite; the quotient is 0 in f32 there anyway.
    const auto power = hn::Min(hn::Mul(g, hn::Set(d, -log2_e)), hn::Set(d, 126.0F));
    const auto silu = hn::Div(g, hn::Add(hn::Set(d, 1.0F), exp2_fast(d, power)));
    hn::StoreU(hn::Mul(silu, hn::LoadU(d, up + i)), d, gate + i);
  });
}

void rotate_half_head(float* x, const float* cosine, const float* sine, std::size_t half) {
  for_each_vector(half, [&](auto d, std::size_t i) {
    const auto a = hn::LoadU(d, x + i);
    const auto b = hn::LoadU(d, x + half + i);
    const auto c = hn::LoadU(d, cosine + i);
    const auto s = hn::LoadU(d, sine + i);
    hn::StoreU(hn::Sub(hn::Mul(a, c), hn::Mul(b, s)), d, x + i);
    hn::StoreU(hn::Add(hn::Mul(b, c), hn::Mul(a, s)), d, x + half + i);
  });
}

float log_sum_exp_row(const float* x, std::size_t n) {
  const row_tag d;
  const auto lanes = hn::Lanes(d);
  float top = x[0];
  for (std::size_t j = 1; j < n; ++j)
    top = x[j] > top ? x[j] : top;
  const auto shift = hn::Set(d, -top * log2_e);
  auto sums = hn::Zero(d);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes)
    sums = hn::Add(sums, exp2_fast(d, hn::MulAdd(hn::LoadU(d, x + i), hn::Set(d, log2_e), shift)));
  float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  for (; i < n; ++i)
    sum += std::exp(x[i] - top);
  return top + std::log(sum);
}

// Where the processor has no conversion, Highway's own takes subnormals for zeros.
#if HWY_TARGET <= HWY_AVX2
void widen_f16_row(const void* from, std::size_t n, float* to) {
  for_each_vector(n, [&](auto d, std::size_t i) {
    const hn::Rebind<hwy::float16_t, decltype(d)> half;
    hn::StoreU(hn::PromoteTo(d, hn::LoadU(half, static_cast<const hwy::float16_t*>(from) + i)), d,
               to + i);
  });
}

void narrow_f16_row(const float* from, std::size_t n, void* to) {
  for_each_vector(n, [&](auto d, std::size_t i) {
    const hn::Rebind<hwy::float16_t, decltype(d)> half;
    hn::StoreU(hn::DemoteTo(half, hn::LoadU(d, from + i)), half,
               static_cast<hwy::float16_t*>(to) + i);
  });
}
#else
void widen_f16_row(const void* from, std::size_t n, float* to) {
  for (std::size_t i = 0; i < n; ++i) {
    std::uint16_t half = 0;
    std::memcpy(&half, static_cast<const char*>(from) + 2 * i, sizeof half);
    to[i] = half_to_float(half);
  }
}

void narrow_f16_row(const float* from, std::size_t n, void* to) {
  for (std::size_t i = 0; i < n; ++i)
    static_cast<std::uint16_t*>(to)[i] = float_to_half(from[i]);
}
#endif

} // namespace pikv::moe_engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <bit>

namespace pikv::moe_engine {

HWY_EXPORT(rms_norm_row);
HWY_EXPORT(add_scaled_row);
HWY_EXPORT(silu_multiply_row);
HWY_EXPORT(rotate_half_head);
HWY_EXPORT(log_sum_exp_row);
HWY_EXPORT(widen_f16_row);
HWY_EXPORT(narrow_f16_row);

void rms_norm(std::span<const float> x, std::span<const float> weight, float epsilon,
              std::span<float> out) noexcept {
  HWY_DYNAMIC_DISPATCH(rms_norm_row)(x.data(), weight.data(), x.size(), epsilon, out.data());
}

void add_scaled(float a, std::span<const float> x, std::span<float> y) noexcept {
  HWY_DYNAMIC_DISPATCH(add_scaled_row)(a, x.data(), x.size(), y.data());
}

void silu_multiply(std::span<float> gate, std::span<const float> up) noexcept {
  HWY_DYNAMIC_DISPATCH(silu_multiply_row)(gate.data(), up.data(), gate.size());
}

void rotate_half(std::span<float> head, std::span<const float> cosine,
                 std::span<const float> sine) noexcept {
  HWY_DYNAMIC_DISPATCH(rotate_half_head)(head.data(), cosine.data(), sine.data(), cosine.size());
}

float log_sum_exp(std::span<const float> x) noexcept {
  return HWY_DYNAMIC_DISPATCH(log_sum_exp_row)(x.data(), x.size());
}

namespace {

void widen_bf16(const void* from, std::span<float> to) noexcept {
  const auto* bytes = static_cast<const std::uint8_t*>(from);
  for (std::size_t i = 0; i < to.size(); ++i) {
    std::uint16_t x = 0;
    std::memcpy(&x, bytes + 2 * i, sizeof x);
    to[i] = std::bit_cast<float>(std::uint32_t{x} << 16);
  }
}

void narrow_bf16(std::span<const float> from, void* to) noexcept {
  auto* out = static_cast<std::uint16_t*>(to);
  for (std::size_t i = 0; i < from.size(); ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(from[i]);
    const auto rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
    // Rounding up a NaN's payload could carry it into infinity.
    const auto kept = from[i] == from[i] ? rounded : (bits >> 16) | 0x40U;
    out[i] = static_cast<std::uint16_t>(kept);
  }
}

} // namespace

void widen(dtype type, const void* from, std::span<float> to) noexcept {
  if (to.empty())
    return; // an empty vector's null is no argument of memcpy
  switch (type) {
  case dtype::f32: std::memcpy(to.data(), from, to.size_bytes()); return;
  case dtype::f16: HWY_DYNAMIC_DISPATCH(widen_f16_row)(from, to.size(), to.data()); return;
  case dtype::bf16: widen_bf16(from, to); return;
  }
}

void narrow(dtype type, std::span<const float> from, void* to) noexcept {
  if (from.empty())
    return;
  switch (type) {
  case dtype::f32: std::memcpy(to, from.data(), from.size_bytes()); return;
  case dtype::f16: HWY_DYNAMIC_DISPATCH(narrow_f16_row)(from.data(), from.size(), to); return;
  case dtype::bf16: narrow_bf16(from, to); return;
  }
}

} // namespace pikv::moe_engine
#endif
