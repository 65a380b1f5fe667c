// SPDX-License-Identifier: Apache-2.0
/// \file
/// Ends a segment: merges the warps of a block, and, where a run is shared by several pieces, has
/// the block that arrives last merge their partials.
#pragma once

#include <pikv/gpu/cuda/attend_consumer.cuh>
#include <pikv/gpu/cuda/attend_partials.cuh>

namespace pikv::gpu::cuda {

/// Adds 1 to a counter, after all writes of this thread and those ordered before it, and returns
/// what it was; reads after it see what earlier arrivals wrote.
__device__ __forceinline__ std::uint32_t arrive_at(std::uint32_t* counter) {
  std::uint32_t before;
  asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], 1;"
               : "=r"(before)
               : "l"(__cvta_generic_to_global(counter))
               : "memory");
  return before;
}

template <int HeadDim, int ColumnTiles>
class attend_merger {
public:
  using state = attend_state<HeadDim, ColumnTiles>;

  /// `warps`: shared f32 `[consumer warps, columns, head_dim]`.
  __device__ attend_merger(const attend_kernel_args& args, attend_shared& shared, float* warps)
      : args_(args), shared_(shared), warps_(warps) {}

  /// Called by all consumer warps at once, as the rest. Before warps use what a segment shares,
  /// there must be a barrier.
  __device__ void finish(const attend_segment& s, const state& x) {
    const std::uint32_t columns = s.rows * args_.group;
    settle_arrival();
    store_stats(x);
    sync();
    store_scaled(columns, x);
    sync();
    const bool whole = s.tiles == s.run_tiles;
    const std::uint64_t part = std::uint64_t{partial_of(s, s.piece)} * args_.columns;
    for (std::uint32_t i = threadIdx.x; i < columns * quads; i += threads) {
      const float4 sum = sum_of_warps(i / quads, i % quads * 4);
      if (whole)
        write_result(args_, s, i / quads, i % quads * 4, sum, shared_.totals[i / quads]);
      else
        __stcg(reinterpret_cast<float4*>(args_.partial_out + part * HeadDim) + i, sum);
    }
    if (!whole && threadIdx.x < columns)
      __stcg(reinterpret_cast<float2*>(args_.partial_stats) + part + threadIdx.x,
             shared_.totals[threadIdx.x]);
    if (pending_ && shared_.merges) {
      sync();
      merge_pending();
      sync();
    }
    pending_ = !whole;
    if (pending_ && threadIdx.x == 0)
      shared_.pending = s;
  }

  /// Says that this block's part of the run before is written; call behind a barrier. The answer is
  /// looked at when the next segment ends, because it takes a while.
  __device__ void arrive() {
    if (pending_ && threadIdx.x == 0)
      arrivals_ = arrive_at(args_.counters + shared_.pending.first_piece);
  }

  /// After the last segment.
  __device__ void end() {
    if (!pending_)
      return;
    sync();
    arrive();
    settle_arrival();
    sync();
    if (shared_.merges)
      merge_pending();
  }

private:
  using partials = attend_partials<HeadDim, ColumnTiles>;
  static constexpr std::uint32_t quads = partials::quads;
  static constexpr std::uint32_t warp_count = partials::warp_count;
  static constexpr std::uint32_t threads = partials::threads;

  __device__ static void sync() { named_barrier(1, threads); }

  __device__ void store_stats(const state& x) {
#pragma unroll
    for (int n = 0; n < ColumnTiles; ++n)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float sum = x.sum[n][c];
#pragma unroll
        for (int step = 4; step < 32; step *= 2)
          sum += __shfl_xor_sync(~0U, sum, step);
        if (threadIdx.x % 32 < 4)
          shared_.stats[threadIdx.x / 32][8 * n + threadIdx.x % 4 * 2 + c] =
              make_float2(x.top[n][c], sum);
      }
  }

  /// Writes the warp's sums relative to the highest reference of all warps.
  __device__ void store_scaled(std::uint32_t columns, const state& x) {
    const std::uint32_t warp = threadIdx.x / 32;
    const std::uint32_t g = threadIdx.x % 32 / 4;
    constexpr int row_tiles = HeadDim / 16;
#pragma unroll
    for (int n = 0; n < ColumnTiles; ++n)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const std::uint32_t column = 8 * n + threadIdx.x % 4 * 2 + c;
        float2 total = shared_.stats[0][column];
#pragma unroll
        for (std::uint32_t w = 1; w < warp_count; ++w)
          total = merged(total, shared_.stats[w][column]);
        if (threadIdx.x < 4)
          shared_.totals[column] = total;
        const float weight = partial_weight(x.top[n][c], total.x);
        float* out = warps_ + (warp * args_.columns + column) * HeadDim + first_channel<HeadDim>(g);
#pragma unroll
        for (int m = 0; m < row_tiles; ++m)
          if (column < columns)
            reinterpret_cast<float2&>(out[m % (row_tiles / 2) * 2 + m / (row_tiles / 2) * 16]) =
                make_float2(x.out[n][m][c] * weight, x.out[n][m][2 + c] * weight);
      }
  }

  __device__ float4 sum_of_warps(std::uint32_t column, std::uint32_t channel) const {
    float4 x = make_float4(0, 0, 0, 0);
#pragma unroll
    for (std::uint32_t w = 0; w < warp_count; ++w)
      add_scaled(x, 1,
                 *reinterpret_cast<const float4*>(warps_ + (w * args_.columns + column) * HeadDim
                                                  + channel));
    return x;
  }

  __device__ void settle_arrival() {
    if (!pending_ || threadIdx.x != 0)
      return;
    const attend_segment& s = shared_.pending;
    shared_.merges = arrivals_ == s.last_piece - s.first_piece;
    if (shared_.merges)
      args_.counters[s.first_piece] = 0; // fit for the next launch
  }

  __device__ void merge_pending() { partials::merge(args_, shared_, warps_, shared_.pending); }

  const attend_kernel_args& args_;
  attend_shared& shared_;
  float* warps_;
  bool pending_ = false;       ///< shared_.pending may still have to be merged
  std::uint32_t arrivals_ = 0; ///< at its run before this block's; thread 0's
};

} // namespace pikv::gpu::cuda
