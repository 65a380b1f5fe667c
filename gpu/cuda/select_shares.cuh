// SPDX-License-Identifier: Apache-2.0
/// \file
/// Shares of pages from their log-scores: softmax over the pages for each head, then the mean over
/// heads, as policies::mean_softmax. A block works on one row.
#pragma once

#include <cfloat>

#include <pikv/gpu/cuda/codec_numeric.cuh>
#include <pikv/gpu/cuda/score.hpp>

namespace pikv::gpu::cuda {

inline constexpr std::uint32_t most_query_heads = 256;
inline constexpr float no_score = -__builtin_huge_valf();

/// Lets the kernels of a chain start early and wait where they need what the one before wrote.
__device__ __forceinline__ void wait_for_previous_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ __forceinline__ void let_next_kernel_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/// NaN as none, +inf as the largest float.
__device__ __forceinline__ float clean_score(float x) {
  return x >= -FLT_MAX ? fminf(x, FLT_MAX) : no_score;
}

/// Largest score and sum of exp(score - largest) of one head.
struct head_stats {
  float top = no_score, sum = 0;
};

__device__ __forceinline__ void add_stats(head_stats& x, float top, float sum) {
  if (top == no_score)
    return;
  const float high = fmaxf(x.top, top);
  x.sum = (x.top == no_score ? 0.0F : x.sum * expf(x.top - high)) + sum * expf(top - high);
  x.top = high;
}

/// Statistics of `heads` rows of scores, `stride` apart, over the first `pages`; for each head
/// (largest score, 1 / (sum * heads)), factor 0 where it has no score. `partial` has room for one
/// entry per warp and head round. Barriers inside; ends with one.
template <int Threads>
__device__ void softmax_stats(const float* scores, std::uint32_t heads, std::size_t stride,
                              std::uint32_t pages, head_stats* partial, float2* out) {
  constexpr std::uint32_t warps = Threads / 32;
  constexpr int at_once = 8;
  const std::uint32_t sharing = heads < warps ? warps / heads : 1; // warps of one head
  const std::uint32_t groups = warps / sharing;
  const std::uint32_t group = warp_id() / sharing, part = warp_id() % sharing;
  for (std::uint32_t h = group; h < heads && group < groups; h += groups) {
    head_stats mine;
    const float* row = scores + h * stride;
    for (std::uint32_t i = part * warp_lanes + lane_id(); i < pages;
         i += at_once * sharing * warp_lanes) {
      float x[at_once], top = no_score, sum = 0;
#pragma unroll
      for (int j = 0; j < at_once; ++j) {
        const std::uint32_t p = i + j * sharing * warp_lanes;
        x[j] = p < pages ? clean_score(row[p]) : no_score;
        top = fmaxf(top, x[j]);
      }
      if (top == no_score)
        continue;
#pragma unroll
      for (int j = 0; j < at_once; ++j)
        sum += expf(x[j] - top);
      add_stats(mine, top, sum);
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      const float top = __shfl_xor_sync(whole_warp, mine.top, step);
      const float sum = __shfl_xor_sync(whole_warp, mine.sum, step);
      add_stats(mine, top, sum);
    }
    if (lane_id() == 0)
      partial[h * sharing + part] = mine;
  }
  __syncthreads();
  for (std::uint32_t h = threadIdx.x; h < heads; h += Threads) {
    head_stats all;
    for (std::uint32_t i = 0; i < sharing; ++i)
      add_stats(all, partial[h * sharing + i].top, partial[h * sharing + i].sum);
    out[h] = {all.top, all.sum > 0 ? 1.0F / (all.sum * static_cast<float>(heads)) : 0.0F};
  }
  __syncthreads();
}

/// The mean share of one page. Equal scores give equal shares.
__device__ __forceinline__ float page_share(const float* scores, std::uint32_t heads,
                                            std::size_t stride, std::uint32_t page,
                                            const float2* stats) {
  float share = 0;
#pragma unroll 4
  for (std::uint32_t h = 0; h < heads; ++h) {
    const float gap = clean_score(scores[h * stride + page]) - stats[h].x;
    share = fmaf(gap >= -87.0F ? expf(gap) : 0.0F, stats[h].y, share);
  }
  return share;
}

/// True where a page is outside the window of a query at `position`.
__device__ __forceinline__ bool is_old(const page_view& page, std::uint32_t window,
                                       std::uint32_t position) {
  return std::uint64_t{page.first_position} + page.tokens + window <= std::uint64_t{position} + 1;
}

__device__ __forceinline__ bool is_kept(const page_view& page) {
  return page.data != nullptr && page.tokens > 0;
}

} // namespace pikv::gpu::cuda
