// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/summary.hpp>

#include <bit>

#include <pikv/gpu/cuda/codec_launch.hpp>
#include <pikv/gpu/cuda/status.hpp>
#include <pikv/gpu/cuda/summary_device.cuh>

namespace pikv::gpu::cuda {
namespace {

/// One block a page; each warp takes a head at a time. Chosen on an H200 with 4,096 pages of 16 x 8
/// x 128 in f16: 44 us (eight tokens a lane: 48, with 8 stretches at once: 52).
struct summary_tuning {
  int threads = 256;
  int batch = 2;  ///< stretches of K that a warp loads before it uses the first
  int blocks = 4; ///< resident blocks that registers must allow
};
constexpr summary_tuning tuning{};
constexpr std::uint32_t warps = tuning.threads / 32;

struct summary_shape {
  cache_dims dims;
  form_offsets offsets;
  summary_layout layout;
  std::uint32_t k_group_log2 = 0;
};

template <std::uint32_t Eights>
__global__ void __launch_bounds__(tuning.threads, tuning.blocks)
    summarise_kernel(const __grid_constant__ summary_shape s, const page_view* __restrict__ pages,
                     std::byte* const* out) {
  const page_view page = pages[blockIdx.x];
  if (page.data == nullptr || page.tokens == 0)
    return;
  // Fewer heads than warps: neighbouring warps share a head's tiles.
  const std::uint32_t share = max(1U, warps / s.dims.kv_heads);
  with_form(page.stored, [&](auto stored) {
    constexpr form f = decltype(stored)::value;
    const head_offsets& at = s.offsets.of[static_cast<int>(f)];
    for (std::uint32_t head = warp_id() / share; head < s.dims.kv_heads; head += warps / share) {
      if (head + warps / share < s.dims.kv_heads)
        prefetch_warp(page.data + std::size_t{head + warps / share} * at.bytes, at.v);
      summarise_tiles<f, Eights, f == form::f32 ? 1 : tuning.batch>(
          coded_at(page.data + std::size_t{head} * at.bytes, at, s.k_group_log2, true), s.dims,
          page.tokens, warp_id() % share, share,
          {out[blockIdx.x] + head * s.layout.head_bytes, s.layout});
    }
  });
}

} // namespace

result<void> summarise(const summarise_launch& x, CUstream_st* stream) {
  if (auto ok = check_dims("summarise", x.dims); !ok)
    return ok;
  if (x.count == 0 || x.parts == summary_none)
    return {};
  const std::uint32_t k_group = layout_of(x.dims, form::int8).k_group;
  const summary_shape s{x.dims, offsets_of(x.dims), summary_layout_of(x.dims, x.parts),
                        static_cast<std::uint32_t>(std::countr_zero(k_group))};
  with_lanes(x.dims.page_tokens, [&](auto lanes) {
    summarise_kernel<decltype(lanes)::value>
        <<<x.count, tuning.threads, 0, stream>>>(s, x.pages, x.out);
  });
  return check_launch("summarise");
}

} // namespace pikv::gpu::cuda
