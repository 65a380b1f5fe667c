// SPDX-License-Identifier: Apache-2.0
// clang-format off
#include <pikv/gpu/host/simd_targets.hpp>
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "pikv/gpu/host/kernels.cpp"
#include <hwy/foreach_target.h>
// clang-format on

#include <hwy/highway.h>

#include <pikv/gpu/host/kernels.hpp>

HWY_BEFORE_NAMESPACE();
namespace pikv::gpu::HWY_NAMESPACE {

const char* target_name() { return hwy::TargetName(HWY_TARGET); }

} // namespace pikv::gpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pikv::gpu {
HWY_EXPORT(target_name);

std::string_view host_simd_target() noexcept { return HWY_DYNAMIC_DISPATCH(target_name)(); }

const kernel_table& host_kernels() noexcept {
  static constexpr kernel_table table{
      .append = detail::host_append,
      .summarise = detail::host_summarise,
      .encode = detail::host_encode,
      .decode = detail::host_decode,
      .score = detail::host_score,
      .attend = detail::host_attend,
      .merge = detail::host_merge,
      .page_mass = detail::host_page_mass,
      .audit = detail::host_audit,
      .copy = detail::host_copy,
      .checksum = detail::host_checksum,
  };
  return table;
}

} // namespace pikv::gpu
#endif
