// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/share.hpp>

#include <pikv/gpu/cuda/codec_launch.hpp>
#include <pikv/gpu/cuda/launch_chained.hpp>
#include <pikv/gpu/cuda/select_shares.cuh>

namespace pikv::gpu::cuda {
namespace {

/// A thread takes one place and some query heads, so that a warp writes whole lines to each GPU.
struct share_tuning {
  unsigned threads = 128;
  unsigned heads = 4;
};
constexpr share_tuning tuning{};

/// Never old, never kept.
__device__ __forceinline__ page_view no_page() {
  page_view x{};
  x.first_position = 0xFFFFFFFFU;
  return x;
}

__global__ void __launch_bounds__(tuning.threads)
    share_kernel(const __grid_constant__ share_launch x) {
  const std::uint32_t groups = (x.dims.query_heads + tuning.heads - 1) / tuning.heads;
  const std::uint32_t i = blockIdx.x / groups * tuning.threads + threadIdx.x;
  const std::uint32_t first_head = blockIdx.x % groups * tuning.heads;
  const attend_sequence s = x.sequences[blockIdx.z];
  const share_sequence to = x.places[blockIdx.z];
  wait_for_previous_kernel();
  let_next_kernel_start();
  const std::uint32_t row = blockIdx.y;
  if (row >= s.row_count || i >= to.place.capacity)
    return;
  const bool there = i < s.settled_count;
  const page_view page = there ? s.settled[i] : no_page();
  if (row == 0 && first_head == 0)
    for (std::uint32_t a = 0; a < x.area_count; ++a)
      reinterpret_cast<page_view*>(x.areas[a])[to.pages_at + to.place.begin + i] = page;
  const bool old = there && is_old(page, x.window, s.first_position + row);
  const std::uint32_t end = min(first_head + tuning.heads, x.dims.query_heads);
#pragma unroll
  for (int kind = 0; kind < 2; ++kind) {
    if (x.scores[kind] == nullptr)
      continue;
    for (std::uint32_t h = first_head; h < end; ++h) {
      const std::size_t line = std::size_t{row} * x.dims.query_heads + h;
      const float score =
          old ? x.scores[kind][s.page_lse_offset + line * s.settled_count + i] : no_score;
      const std::size_t at = to.scores_at + line * to.place.pages + to.place.begin + i;
      for (std::uint32_t a = 0; a < x.area_count; ++a)
        reinterpret_cast<float*>(x.areas[a] + x.scores_begin[kind])[at] = score;
    }
  }
}

} // namespace

result<void> share(const share_launch& x, CUstream_st* stream) {
  if (auto ok = check_dims("share", x.dims); !ok)
    return ok;
  if (x.bounds.rows > 65535 || x.bounds.sequences > 65535)
    return {errc::invalid_argument,
            "share: at most 65,535 rows a sequence and as many sequences"};
  if (x.bounds.sequences == 0 || x.bounds.rows == 0 || x.bounds.pages == 0)
    return {};
  const unsigned groups = (x.dims.query_heads + tuning.heads - 1) / tuning.heads;
  const unsigned blocks = (x.bounds.pages + tuning.threads - 1) / tuning.threads;
  const dim3 grid(blocks * groups, x.bounds.rows, x.bounds.sequences);
  return launch_chained(share_kernel, "launch of share", grid, tuning.threads, 0, x, stream);
}

} // namespace pikv::gpu::cuda
