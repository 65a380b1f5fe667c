// SPDX-License-Identifier: Apache-2.0
/// \file
/// Shares of pages from their log-scores: softmax over the pages for each head, then the mean over
/// heads, as policies::mean_softmax. A block works on one row.
#pragma once

#include <cfloat>

#include <pikv/gpu/cuda/chained.cuh>
#include <pikv/gpu/cuda/codec_numeric.cuh>
#include <pikv/gpu/cuda/score.hpp>

namespace pikv::gpu::cuda {

inline constexpr std::uint32_t most_query_heads = choose_most_query_heads;
inline constexpr float no_score = -__builtin_huge_valf();

/// NaN as none, +inf as the largest float.
__device__ __forceinline__ float clean_score(float x) {
  return x >= -FLT_MAX ? fminf(x, FLT_MAX) : no_score;
}

/// exp(x - top), and 0 where that is no longer a normal float or nothing has a score. Good to 1e-5
/// of itself at the far end.
__device__ __forceinline__ float exp_below(float x, float top) {
  const float gap = x - top;
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(gap * 1.44269504F));
  return gap >= -87.0F ? y : 0.0F;
}

/// Largest score and sum of exp(score - largest) of one head.
struct head_stats {
  float top, sum;
};

__device__ __forceinline__ void add_stats(head_stats& x, float top, float sum) {
  if (top == no_score)
    return;
  const float high = fmaxf(x.top, top);
  x.sum = (x.top == no_score ? 0.0F : x.sum * exp_below(x.top, high)) + sum * exp_below(top, high);
  x.top = high;
}

inline constexpr int most_heads_at_once = 4;

template <int Threads>
struct share_storage {
  unsigned top[most_heads_at_once][Threads / 32];
  float sum[most_heads_at_once][Threads / 32];
  head_stats partial[most_query_heads];
  float2 stats[most_query_heads]; ///< largest score, 1 / (sum * divisor)
};

/// Unsigned integers in the order of the floats.
__device__ __forceinline__ unsigned ordered(float x) {
  const unsigned bits = __float_as_uint(x);
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}
__device__ __forceinline__ float from_ordered(unsigned x) {
  return __uint_as_float((x & 0x80000000U) != 0 ? x & 0x7FFFFFFFU : ~x);
}

/// Up to Threads * Items pages: every score is read once and stays in registers, `Heads` heads at a
/// time.
template <int Threads, int Items, int Heads, class F>
__device__ __forceinline__ void
shares_in_registers(const float* scores, std::uint32_t heads, float divisor, std::size_t stride,
                    std::uint32_t pages, share_storage<Threads>& t, F f) {
  constexpr std::uint32_t warps = Threads / 32;
  float share[Items] = {};
  for (std::uint32_t first = 0; first < heads; first += Heads) {
    float x[Heads][Items];
#pragma unroll
    for (int h = 0; h < Heads; ++h)
#pragma unroll
      for (int j = 0; j < Items; ++j) {
        const std::uint32_t p = threadIdx.x + j * Threads;
        x[h][j] = first + h < heads && p < pages ? scores[(first + h) * stride + p] : no_score;
      }
#pragma unroll
    for (int h = 0; h < Heads; ++h) {
      float top = no_score;
#pragma unroll
      for (int j = 0; j < Items; ++j) {
        x[h][j] = clean_score(x[h][j]);
        top = fmaxf(top, x[h][j]);
      }
      const unsigned most = __reduce_max_sync(whole_warp, ordered(top));
      if (lane_id() == 0)
        t.top[h][warp_id()] = most;
    }
    __syncthreads();
#pragma unroll
    for (int h = 0; h < Heads; ++h) {
      const unsigned mine = lane_id() < warps ? t.top[h][lane_id()] : 0;
      const float top = from_ordered(__reduce_max_sync(whole_warp, mine));
      float sum = 0;
#pragma unroll
      for (int j = 0; j < Items; ++j) {
        x[h][j] = exp_below(x[h][j], top);
        sum += x[h][j];
      }
      sum = warp_sum(sum);
      if (lane_id() == 0)
        t.sum[h][warp_id()] = sum;
    }
    __syncthreads();
#pragma unroll
    for (int h = 0; h < Heads; ++h) {
      const float sum = warp_sum(lane_id() < warps ? t.sum[h][lane_id()] : 0.0F);
      const float factor = sum > 0 ? __fdividef(1.0F, sum * divisor) : 0.0F;
#pragma unroll
      for (int j = 0; j < Items; ++j)
        share[j] = fmaf(x[h][j], factor, share[j]);
    }
  }
#pragma unroll
  for (int j = 0; j < Items; ++j)
    if (threadIdx.x + j * Threads < pages)
      f(threadIdx.x + j * Threads, share[j]);
}

/// Any number of pages: one pass for the statistics of each head, a second for the shares.
template <int Threads, class F>
__device__ void shares_in_passes(const float* scores, std::uint32_t heads, float divisor,
                                 std::size_t stride, std::uint32_t pages, share_storage<Threads>& t,
                                 F f) {
  constexpr std::uint32_t warps = Threads / 32;
  constexpr int at_once = 8;
  const std::uint32_t sharing = heads < warps ? warps / heads : 1; // warps of one head
  const std::uint32_t groups = warps / sharing;
  const std::uint32_t group = warp_id() / sharing, part = warp_id() % sharing;
  for (std::uint32_t h = group; h < heads && group < groups; h += groups) {
    head_stats mine{no_score, 0};
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
        sum += exp_below(x[j], top);
      add_stats(mine, top, sum);
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      const float top = __shfl_xor_sync(whole_warp, mine.top, step);
      const float sum = __shfl_xor_sync(whole_warp, mine.sum, step);
      add_stats(mine, top, sum);
    }
    if (lane_id() == 0)
      t.partial[h * sharing + part] = mine;
  }
  __syncthreads();
  for (std::uint32_t h = threadIdx.x; h < heads; h += Threads) {
    head_stats all{no_score, 0};
    for (std::uint32_t i = 0; i < sharing; ++i)
      add_stats(all, t.partial[h * sharing + i].top, t.partial[h * sharing + i].sum);
    t.stats[h] = {all.top, all.sum > 0 ? 1.0F / (all.sum * divisor) : 0.0F};
  }
  __syncthreads();
  for (std::uint32_t i = threadIdx.x; i < pages; i += Threads) {
    float share = 0;
#pragma unroll 4
    for (std::uint32_t h = 0; h < heads; ++h)
      share =
          fmaf(exp_below(clean_score(scores[h * stride + i]), t.stats[h].x), t.stats[h].y, share);
    f(i, share);
  }
}

/// Calls f(page, share) for the first `pages`; share is the sum over `heads` rows of scores,
/// `stride` apart, of the softmax over the pages, divided by `divisor`. Equal scores give equal
/// shares. All threads of the block call; each page goes to one of them.
template <int Threads, class F>
__device__ void for_shares(const float* scores, std::uint32_t heads, float divisor,
                           std::size_t stride, std::uint32_t pages, share_storage<Threads>& t,
                           F f) {
  if (pages <= Threads * 4)
    shares_in_registers<Threads, 4, 4>(scores, heads, divisor, stride, pages, t, f);
  else if (pages <= Threads * 16)
    shares_in_registers<Threads, 16, 1>(scores, heads, divisor, stride, pages, t, f);
  else
    shares_in_passes(scores, heads, divisor, stride, pages, t, f);
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
