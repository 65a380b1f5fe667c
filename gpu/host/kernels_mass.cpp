// SPDX-License-Identifier: Apache-2.0
// clang-format off
#include <pikv/gpu/host/simd_targets.hpp>
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "pikv/gpu/host/kernels_mass.cpp"
#include <hwy/foreach_target.h>
// clang-format on

#include <algorithm>
#include <cmath>

#include <pikv/gpu/host/kernels.hpp>
#include <pikv/gpu/host/simd-inl.hpp>
#include <pikv/gpu/host/worker_pool.hpp>

HWY_BEFORE_NAMESPACE();
namespace pikv::gpu::HWY_NAMESPACE {

inline constexpr std::size_t pages_per_part = 64; // 4 vectors of f32 that stay in registers

/// Pages `begin ... end`: rows outside, so that each part reads its own columns once.
HWY_NOINLINE void mass_of(const page_mass_args& a, std::size_t begin, std::size_t end) {
  const full_f32 d;
  HWY_ALIGN float sums[pages_per_part] = {};
  const std::size_t n = end - begin;
  for (std::size_t r = 0; r < std::size_t{a.rows} * a.heads; ++r) {
    if (!std::isfinite(a.lse[r]))
      continue;
    const float* page = a.page_lse + r * a.pages + begin;
    const auto lse = hn::Set(d, a.lse[r]);
    std::size_t p = 0;
    for (; p + full_lanes <= n; p += full_lanes) {
      const auto log2 = hn::Mul(hn::Sub(hn::LoadU(d, page + p), lse), hn::Set(d, 1.44269504F));
      const auto x = exp2_f32(d, log2);
      hn::Store(hn::Add(hn::Load(d, sums + p), x), d, sums + p);
    }
    for (; p < n; ++p)
      sums[p] += std::exp(page[p] - a.lse[r]);
  }
  for (std::size_t p = 0; p < n; ++p)
    a.mass[begin + p] = sums[p] / static_cast<float>(a.heads);
}

void page_mass(const page_mass_args& a, executor& exec) {
  exec.run((a.pages + pages_per_part - 1) / pages_per_part, [&](std::size_t part, std::size_t) {
    mass_of(a, part * pages_per_part, std::min<std::size_t>((part + 1) * pages_per_part, a.pages));
  });
}

} // namespace pikv::gpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pikv::gpu {
HWY_EXPORT(page_mass);

void detail::host_page_mass(const page_mass_args& args, executor& exec) noexcept {
  HWY_DYNAMIC_DISPATCH(page_mass)(args, exec);
}

} // namespace pikv::gpu
#endif
