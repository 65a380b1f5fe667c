// SPDX-License-Identifier: Apache-2.0
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "eval/study_math.cpp"
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include <algorithm>
#include <limits>

#include <moe_engine/fast_exp-inl.hpp>
#include <moe_engine/gemm_tile-inl.hpp>

#include "eval/study_math.hpp"

HWY_BEFORE_NAMESPACE();
namespace pikv::moe_engine::HWY_NAMESPACE {

void multiply_panels(const float* a, std::size_t rows, std::size_t a_stride, const float* b,
                     std::size_t panels, std::size_t panel_stride, std::size_t depth, float* c,
                     std::size_t c_stride, bool accumulate) {
  for (std::size_t p = 0; p < panels; ++p)
    panel_product(rows, a, a_stride, b + p * panel_stride, depth, c + p * panel_width, c_stride,
                  accumulate);
}

/// x = 2^(x - top), 0 for -inf; the sum.
float exponentials_below(float* x, std::size_t count, float top) {
  const f32_tag d;
  const auto lanes = hn::Lanes(d);
  const auto lowest = hn::Set(d, std::numeric_limits<float>::lowest());
  auto sums = hn::Zero(d);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto v = hn::LoadU(d, x + i);
    const auto p = hn::IfThenElseZero(hn::Ge(v, lowest), exp2_fast(d, hn::Sub(v, hn::Set(d, top))));
    hn::StoreU(p, d, x + i);
    sums = hn::Add(sums, p);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  for (; i < count; ++i) {
    const hn::CappedTag<float, 1> one;
    x[i] = x[i] >= std::numeric_limits<float>::lowest()
               ? hn::GetLane(exp2_fast(one, hn::Set(one, x[i] - top)))
               : 0.0F;
    sum += x[i];
  }
  return sum;
}

} // namespace pikv::moe_engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pikv::moe_engine {
HWY_EXPORT(multiply_panels);
HWY_EXPORT(exponentials_below);
} // namespace pikv::moe_engine

namespace pikv::tools {

void multiply(const float* a, std::size_t rows, std::size_t a_stride, const float* b,
              std::size_t panels, std::size_t panel_stride, std::size_t depth, float* c,
              std::size_t c_stride, bool accumulate) {
  using namespace moe_engine;
  HWY_DYNAMIC_DISPATCH(multiply_panels)
  (a, rows, a_stride, b, panels, panel_stride, depth, c, c_stride, accumulate);
}

softmax_sum exponentials(std::span<float> logits) noexcept {
  using namespace moe_engine;
  const float top = *std::ranges::max_element(logits);
  return {top, HWY_DYNAMIC_DISPATCH(exponentials_below)(logits.data(), logits.size(), top)};
}

} // namespace pikv::tools
#endif
