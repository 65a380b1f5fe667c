// SPDX-License-Identifier: Apache-2.0
// clang-format off
#include <pikv/gpu/host/simd_targets.hpp>
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "pikv/gpu/host/kernels_merge.cpp"
#include <hwy/foreach_target.h>
// clang-format on

#include <algorithm>
#include <cmath>
#include <limits>

#include <pikv/gpu/host/kernels.hpp>
#include <pikv/gpu/host/page_values-inl.hpp>
#include <pikv/gpu/host/worker_pool.hpp>

HWY_BEFORE_NAMESPACE();
namespace pikv::gpu::HWY_NAMESPACE {

inline constexpr std::size_t rows_per_part = 16;

/// Merges the partials of one (row, query head); `i` counts them.
template <class T>
HWY_INLINE void merge_one(const merge_args& a, std::size_t i, T* out) {
  constexpr float none = -std::numeric_limits<float>::infinity();
  const full_f32 d;
  const std::size_t dim = a.dims.head_dim;
  HWY_ALIGN float acc[256] = {};
  float top = none;
  for (const float* lse : a.lses)
    top = std::max(top, lse[i]);
  double sum = 0;
  for (std::size_t k = 0; k < a.outs.size() && top != none; ++k) {
    const float lse = a.lses[k][i];
    if (lse == none)
      continue;
    const double weight = std::exp(static_cast<double>(lse) - top);
    sum += weight;
    const auto w = hn::Set(d, static_cast<float>(weight));
    for (std::size_t c = 0; c < dim; c += full_lanes)
      hn::Store(hn::MulAdd(w, hn::LoadU(d, a.outs[k] + i * dim + c), hn::Load(d, acc + c)), d,
                acc + c);
  }
  const auto factor = hn::Set(d, sum > 0 ? static_cast<float>(1 / sum) : 0.0F);
  for (std::size_t c = 0; c < dim; c += full_lanes)
    store_f32(d, hn::Mul(hn::Load(d, acc + c), factor), out + c);
  if (a.lse != nullptr)
    a.lse[i] = sum > 0 ? static_cast<float>(top + std::log(sum)) : none;
}

HWY_NOINLINE void merge_rows(const merge_args& a, std::size_t begin, std::size_t end) {
  with_raw_type(raw_form(a.out.type), [&](auto tag) HWY_ATTR {
    auto* out = reinterpret_cast<decltype(tag)*>(a.out.data);
    for (std::size_t row = begin; row < end; ++row)
      for (std::size_t h = 0; h < a.dims.query_heads; ++h)
        merge_one(a, row * a.dims.query_heads + h,
                  out + row * a.out.row_stride + h * a.out.head_stride);
  });
}

void merge(const merge_args& a, executor& exec) {
  exec.run((a.rows + rows_per_part - 1) / rows_per_part, [&](std::size_t part, std::size_t) {
    merge_rows(a, part * rows_per_part, std::min<std::size_t>((part + 1) * rows_per_part, a.rows));
  });
}

/// Sums of squares of (out - full_out) and full_out.
HWY_NOINLINE void compare_outputs(const audit_args& a, double& error, double& norm) {
  const full_f32 d;
  HWY_ALIGN float x[full_lanes];
  with_raw_type(raw_form(a.out.type), [&](auto tag) HWY_ATTR {
    const auto* out = reinterpret_cast<const decltype(tag)*>(a.out.data);
    for (std::size_t i = 0; i < std::size_t{a.rows} * a.dims.query_heads; ++i) {
      const auto* p = out + i / a.dims.query_heads * a.out.row_stride
                      + i % a.dims.query_heads * a.out.head_stride;
      const float* full = a.full_out + i * a.dims.head_dim;
      for (std::size_t c = 0; c < a.dims.head_dim; c += full_lanes) {
        hn::Store(load_f32(d, p + c), d, x);
        for (std::size_t j = 0; j < full_lanes; ++j) {
          const double y = full[c + j];
          error += (x[j] - y) * (x[j] - y);
          norm += y * y;
        }
      }
    }
  });
}

void audit(const audit_args& a, executor& /*exec*/) {
  const std::size_t n = std::size_t{a.rows} * a.dims.query_heads;
  double coverage = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double full = a.full_lse[i];
    coverage += std::isinf(full) ? 1 : std::exp(a.lse[i] - full);
  }
  double error = 0;
  double norm = 0;
  compare_outputs(a, error, norm);
  if (a.coverage != nullptr)
    *a.coverage = n > 0 ? coverage / static_cast<double>(n) : 1;
  if (a.output_error != nullptr)
    *a.output_error = norm > 0 ? std::sqrt(error / norm) : std::sqrt(error);
}

} // namespace pikv::gpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pikv::gpu {
HWY_EXPORT(merge);
HWY_EXPORT(audit);

void detail::host_merge(const merge_args& args, executor& exec) noexcept {
  HWY_DYNAMIC_DISPATCH(merge)(args, exec);
}

void detail::host_audit(const audit_args& args, executor& exec) noexcept {
  HWY_DYNAMIC_DISPATCH(audit)(args, exec);
}

} // namespace pikv::gpu
#endif
