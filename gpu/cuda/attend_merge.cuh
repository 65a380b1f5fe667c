// SPDX-License-Identifier: Apache-2.0
/// \file
/// Ends a segment: merges the warps of a block, and, where a run is shared by several blocks, their
/// partials. The block that arrives last merges them; which one that is does not change the order.
#pragma once

#include <pikv/gpu/cuda/attend_consumer.cuh>

namespace pikv::gpu::cuda {

/// exp2(top - all), 0 for a partial that read nothing.
__device__ __forceinline__ float partial_weight(float top, float all) {
  return top == -INFINITY ? 0.0F : exp2f(top - all);
}

template <int HeadDim, int ColumnTiles>
class attend_merger {
public:
  /// `warps`: shared f32 `[warps, columns, head_dim]`.
  __device__ attend_merger(const attend_kernel_args& args, attend_shared& shared, float* warps)
      : args_(args), shared_(shared), warps_(warps), threads_(32 * consumer_warps()) {}

  /// Called by all consumer warps at once. Barriers inside keep them together.
  __device__ void finish(const attend_segment& s,
                         const attend_state<HeadDim, ColumnTiles>& state) {
    const std::uint32_t columns = s.rows * args_.group;
    store_warp(columns, state);
    named_barrier(1, threads_);
    const bool whole = s.tiles == s.run_tiles;
    const std::uint32_t first = whole ? 0 : block_of_tile(s.total, s.run_begin);
    float* out = nullptr;
    float* stats = nullptr;
    if (!whole) {
      const std::uint32_t part = partial_of(blockIdx.x, first);
      out = args_.partial_out + std::uint64_t{part} * args_.columns * HeadDim;
      stats = args_.partial_stats + std::uint64_t{part} * args_.columns * 2;
    }
    for (std::uint32_t i = threadIdx.x; i < columns * quads; i += threads_)
      merge_warps(s, i / quads, i % quads * 4, out, stats);
    if (!whole)
      merge_blocks(s, first, columns);
    named_barrier(1, threads_);
  }

private:
  static constexpr std::uint32_t quads = HeadDim / 4;

  /// A block has room for two partials: of the run that begins in it and of one that began before.
  __device__ static std::uint32_t partial_of(std::uint32_t block, std::uint32_t first) {
    return 2 * block + (block == first ? 1 : 0);
  }

  __device__ void store_warp(std::uint32_t columns,
                             const attend_state<HeadDim, ColumnTiles>& state) {
    const std::uint32_t warp = threadIdx.x / 32;
    const std::uint32_t g = threadIdx.x % 32 / 4;
    constexpr int row_tiles = HeadDim / 16;
    #pragma unroll
    for (int n = 0; n < ColumnTiles; ++n)
      #pragma unroll
      for (int c = 0; c < 2; ++c) {
        float sum = state.sum[n][c];
        #pragma unroll
        for (int step = 4; step < 32; step *= 2)
          sum += __shfl_xor_sync(~0U, sum, step);
        const std::uint32_t column = 8 * n + threadIdx.x % 4 * 2 + c;
        if (column >= columns)
          continue;
        if (g == 0) {
          shared_.stats[warp][column][0] = state.top[n][c];
          shared_.stats[warp][column][1] = sum;
        }
        float* out = warps_ + (warp * args_.columns + column) * HeadDim;
        #pragma unroll
        for (int m = 0; m < row_tiles; ++m) {
          const std::uint32_t channel = first_channel<HeadDim>(g) + m % (row_tiles / 2) * 2
                                        + m / (row_tiles / 2) * 16;
          reinterpret_cast<float2&>(out[channel]) =
              make_float2(state.out[n][m][c], state.out[n][m][2 + c]);
        }
      }
  }

  /// Four channels of one column over the warps: written as the result, or as a partial.
  __device__ void merge_warps(const attend_segment& s, std::uint32_t column, std::uint32_t channel,
                              float* out, float* stats) {
    float top = -INFINITY;
    for (std::uint32_t w = 0; w < consumer_warps(); ++w)
      top = fmaxf(top, shared_.stats[w][column][0]);
    float4 x = make_float4(0, 0, 0, 0);
    float sum = 0;
    for (std::uint32_t w = 0; w < consumer_warps(); ++w) {
      const float weight = partial_weight(shared_.stats[w][column][0], top);
      sum += shared_.stats[w][column][1] * weight;
      add_scaled(x, weight,
                 *reinterpret_cast<const float4*>(
                     warps_ + (w * args_.columns + column) * HeadDim + channel));
    }
    if (out == nullptr) {
      write_result(s, column, channel, x, top, sum);
      return;
    }
    __stcg(reinterpret_cast<float4*>(out + column * HeadDim + channel), x);
    if (channel == 0)
      __stcg(reinterpret_cast<float2*>(stats + 2 * column), make_float2(top, sum));
  }

  __device__ static void add_scaled(float4& x, float weight, float4 y) {
    x.x = fmaf(weight, y.x, x.x);
    x.y = fmaf(weight, y.y, x.y);
    x.z = fmaf(weight, y.z, x.z);
    x.w = fmaf(weight, y.w, x.w);
  }

  __device__ void merge_blocks(const attend_segment& s, std::uint32_t first,
                               std::uint32_t columns) {
    const std::uint32_t last = block_of_tile(s.total, s.run_begin + s.run_tiles - 1);
    named_barrier(1, threads_);
    if (threadIdx.x == 0) {
      __threadfence(); // the block's partial, before it is counted
      shared_.arrivals = atomicAdd(args_.counters + first, 1U);
      if (shared_.arrivals == last - first)
        args_.counters[first] = 0; // fit for the next launch
      __threadfence();
    }
    named_barrier(1, threads_);
    if (shared_.arrivals == last - first)
      merge_partials(s, first, last, columns);
  }

  /// Threads share out (column, four channels) and, where there are more threads than that, the
  /// blocks; `warps_` then holds their sums.
  __device__ void merge_partials(const attend_segment& s, std::uint32_t first, std::uint32_t last,
                                 std::uint32_t columns) {
    const std::uint32_t items = columns * quads;
    const std::uint32_t shares = max(1U, min(threads_ / items, consumer_warps()));
    for (std::uint32_t base = 0; base < items; base += threads_) {
      const std::uint32_t item = base + threadIdx.x % min(items, threads_);
      const std::uint32_t share = threadIdx.x / items;
      const bool works = item < items && share < shares;
      float4 x = make_float4(0, 0, 0, 0);
      float top = -INFINITY, sum = 0;
      if (works)
        sum_partials(first, last, share, shares, item / quads, item % quads * 4, x, top, sum);
      if (shares > 1) {
        if (works)
          reinterpret_cast<float4*>(warps_)[threadIdx.x] = x;
        named_barrier(1, threads_);
        for (std::uint32_t other = 1; works && share == 0 && other < shares; ++other)
          add_scaled(x, 1, reinterpret_cast<const float4*>(warps_)[threadIdx.x + other * items]);
      }
      if (works && share == 0)
        write_result(s, item / quads, item % quads * 4, x, top, sum);
    }
  }

  /// Adds up every `shares`th partial from `share` on; `top` and `sum` are of all.
  __device__ void sum_partials(std::uint32_t first, std::uint32_t last, std::uint32_t share,
                               std::uint32_t shares, std::uint32_t column, std::uint32_t channel,
                               float4& x, float& top, float& sum) const {
    const auto part = [&](std::uint32_t block) {
      return std::uint64_t{partial_of(block, first)} * args_.columns + column;
    };
    const auto stats_of = [&](std::uint32_t block) {
      return __ldcg(reinterpret_cast<const float2*>(args_.partial_stats) + part(block));
    };
    #pragma unroll 8
    for (std::uint32_t b = first; b <= last; ++b) {
      const float2 stats = stats_of(b);
      const float higher = fmaxf(top, stats.x);
      sum = sum * partial_weight(top, higher) + stats.y * partial_weight(stats.x, higher);
      top = higher;
    }
    #pragma unroll 8
    for (std::uint32_t b = first + share; b <= last; b += shares)
      add_scaled(x, partial_weight(stats_of(b).x, top),
                 __ldcg(reinterpret_cast<const float4*>(args_.partial_out + part(b) * HeadDim
                                                        + channel)));
  }

  __device__ void write_result(const attend_segment& s, std::uint32_t column,
                               std::uint32_t channel, float4 x, float top, float sum) {
    const attend_launch& a = args_.launch;
    const std::uint64_t row = s.row_begin + column / args_.group;
    const std::uint64_t head = s.kv_head * args_.group + column % args_.group;
    const bool any = top != -INFINITY || sum != 0; // a sum of NaN counts as well
    const float factor = any ? 1 / sum : 0.0F;
    const std::uint64_t at = row * a.out.row_stride + head * a.out.head_stride + channel;
    store_f32(a.out.data, a.out.type, at, x.x * factor);
    store_f32(a.out.data, a.out.type, at + 1, x.y * factor);
    store_f32(a.out.data, a.out.type, at + 2, x.z * factor);
    store_f32(a.out.data, a.out.type, at + 3, x.w * factor);
    if (channel == 0 && a.lse != nullptr)
      a.lse[row * a.dims.query_heads + head] = any ? (top + log2f(sum)) * ln_2 : -INFINITY;
  }

  const attend_kernel_args& args_;
  attend_shared& shared_;
  float* warps_;
  std::uint32_t threads_;
};

} // namespace pikv::gpu::cuda
