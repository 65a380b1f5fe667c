// SPDX-License-Identifier: Apache-2.0
// clang-format off
#include <pikv/gpu/host/simd_targets.hpp>
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "pikv/gpu/host/kernels_summary.cpp"
#include <hwy/foreach_target.h>
// clang-format on

#include <pikv/gpu/host/half.hpp>
#include <pikv/gpu/host/kernels.hpp>
#include <pikv/gpu/host/page_values-inl.hpp>
#include <pikv/gpu/host/worker_pool.hpp>

HWY_BEFORE_NAMESPACE();
namespace pikv::gpu::HWY_NAMESPACE {

/// Moments and range of `full_lanes` channels over the first n tokens of K `[channels, p]`. Sums
/// are taken relative to the first token, so that a large mean does not swallow the variance.
HWY_INLINE void summarise_channels(const float* k, std::size_t n, std::size_t p, std::uint8_t parts,
                                   const summary_layout& to, std::byte* out) {
  const full_f32 d;
  const hn::RebindToSigned<full_f32> di;
  const auto step = hn::Mul(hn::Iota(di, 0), hn::Set(di, static_cast<std::int32_t>(p)));
  const auto first = hn::GatherIndex(d, k, step);
  auto sum = hn::Zero(d);
  auto squares = hn::Zero(d);
  auto low = first;
  auto high = first;
  for (std::size_t t = 1; t < n; ++t) {
    const auto x = hn::GatherIndex(d, k + t, step);
    const auto delta = hn::Sub(x, first);
    sum = hn::Add(sum, delta);
    squares = hn::MulAdd(delta, delta, squares);
    low = hn::Min(low, x);
    high = hn::Max(high, x);
  }
  const auto finite = [&](auto x) HWY_ATTR {
    return hn::Clamp(x, hn::Set(d, -detail::f16_max), hn::Set(d, detail::f16_max));
  };
  if ((parts & summary_mean_var) != 0) {
    const auto inverse = hn::Set(d, 1.0F / static_cast<float>(n));
    const auto shift = hn::Mul(sum, inverse);
    const auto variance = hn::NegMulAdd(shift, shift, hn::Mul(squares, inverse));
    store_f32(d, finite(hn::Add(first, shift)), reinterpret_cast<f16*>(out + to.mean_offset));
    store_f32(d, finite(hn::Max(variance, hn::Zero(d))),
              reinterpret_cast<f16*>(out + to.var_offset));
  }
  if ((parts & summary_min_max) != 0) {
    HWY_ALIGN float x[2 * full_lanes];
    hn::Store(low, d, x);
    hn::Store(high, d, x + full_lanes);
    for (std::size_t c = 0; c < full_lanes; ++c) {
      reinterpret_cast<std::uint16_t*>(out + to.min_offset)[c] = detail::f16_below(x[c]);
      reinterpret_cast<std::uint16_t*>(out + to.max_offset)[c] =
          detail::f16_above(x[full_lanes + c]);
    }
  }
}

HWY_NOINLINE void summarise_page(const summarise_args& a, std::size_t i) {
  const page_view& page = a.pages[i];
  if (page.data == nullptr || page.tokens == 0)
    return;
  HWY_ALIGN float k[256 * 64];
  const page_layout from = layout_of(a.dims, page.stored);
  const summary_layout to = summary_layout_of(a.dims, a.parts);
  const std::size_t p = a.dims.page_tokens;
  for (std::size_t h = 0; h < a.dims.kv_heads; ++h) {
    widen_k(a.dims, from, page.data + h * from.head_bytes, k, p);
    std::byte* head = a.out[i] + h * to.head_bytes;
    for (std::size_t c = 0; c < a.dims.head_dim; c += full_lanes)
      summarise_channels(k + c * p, page.tokens, p, a.parts, to, head + c * sizeof(f16));
  }
}

void summarise(const summarise_args& a, executor& exec) {
  exec.run(a.pages.size(), [&](std::size_t i, std::size_t) { summarise_page(a, i); });
}

} // namespace pikv::gpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pikv::gpu {
HWY_EXPORT(summarise);

void detail::host_summarise(const summarise_args& args, executor& exec) noexcept {
  HWY_DYNAMIC_DISPATCH(summarise)(args, exec);
}

} // namespace pikv::gpu
#endif
