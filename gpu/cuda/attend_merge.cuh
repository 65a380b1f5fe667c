// SPDX-License-Identifier: Apache-2.0
/// \file
/// Ends a segment: merges the warps of a block, and, where a run is shared by several pieces, their
/// partials. The block that arrives last merges them; which one that is does not change the order.
#pragma once

#include <pikv/gpu/cuda/attend_consumer.cuh>

namespace pikv::gpu::cuda {

/// exp2(top - all), 0 for a partial that read nothing.
__device__ __forceinline__ float partial_weight(float top, float all) {
  return top == -INFINITY ? 0.0F : exp2_fast(top - all);
}

/// Adds 1 to a counter, after all writes of this thread and those ordered before it, and returns
/// what it was; reads after it see what earlier arrivals wrote.
__device__ __forceinline__ std::uint32_t arrive(std::uint32_t* counter) {
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

  /// Called by all consumer warps at once. Barriers inside keep them together.
  __device__ void finish(const attend_segment& s, const state& x) {
    const std::uint32_t columns = s.rows * args_.group;
    store_stats(x);
    sync();
    store_scaled(columns, x);
    sync();
    const bool whole = s.tiles == s.run_tiles;
    const std::uint64_t part = std::uint64_t{partial_of(s, s.piece)} * args_.columns;
    for (std::uint32_t i = threadIdx.x; i < columns * quads; i += threads) {
      const float4 sum = sum_of_warps(i / quads, i % quads * 4);
      if (whole)
        write_result(s, i / quads, i % quads * 4, sum, shared_.totals[i / quads]);
      else
        __stcg(reinterpret_cast<float4*>(args_.partial_out + part * HeadDim) + i, sum);
    }
    if (!whole) {
      if (threadIdx.x < columns)
        __stcg(reinterpret_cast<float2*>(args_.partial_stats) + part + threadIdx.x,
               shared_.totals[threadIdx.x]);
      merge_pieces(s, columns);
    }
    sync();
  }

private:
  static constexpr std::uint32_t quads = HeadDim / 4;
  static constexpr std::uint32_t warp_count = consumer_warps<ColumnTiles>;
  static constexpr std::uint32_t threads = 32 * warp_count;

  __device__ static void sync() { named_barrier(1, threads); }

  /// A piece has room for two partials: of the run that begins in it and of one that began before.
  __device__ static std::uint32_t partial_of(const attend_segment& s, std::uint32_t piece) {
    return 2 * piece + (piece == s.first_piece ? 1 : 0);
  }

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

  /// (reference, sum of weights) of two partials together.
  __device__ static float2 merged(float2 a, float2 b) {
    const float top = fmaxf(a.x, b.x);
    return make_float2(top, a.y * partial_weight(a.x, top) + b.y * partial_weight(b.x, top));
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

  __device__ static void add_scaled(float4& x, float weight, float4 y) {
    x.x = fmaf(weight, y.x, x.x);
    x.y = fmaf(weight, y.y, x.y);
    x.z = fmaf(weight, y.z, x.z);
    x.w = fmaf(weight, y.w, x.w);
  }

  __device__ void merge_pieces(const attend_segment& s, std::uint32_t columns) {
    const std::uint32_t others = s.last_piece - s.first_piece;
    sync();
    if (threadIdx.x == 0) {
      shared_.arrivals = arrive(args_.counters + s.first_piece);
      if (shared_.arrivals == others)
        args_.counters[s.first_piece] = 0; // fit for the next launch
    }
    sync();
    if (shared_.arrivals == others)
      merge_partials(s, columns);
  }

  /// Threads share out (column, four channels) and, where there are more threads than that, the
  /// pieces; `warps_` and `stats` then hold their sums.
  __device__ void merge_partials(const attend_segment& s, std::uint32_t columns) {
    const std::uint32_t items = columns * quads;
    const std::uint32_t shares = max(1U, min(threads / items, warp_count));
    for (std::uint32_t base = 0; base < items; base += threads) {
      const std::uint32_t item = base + threadIdx.x % min(items, threads);
      const std::uint32_t share = threadIdx.x / items;
      const std::uint32_t column = item / quads;
      const std::uint32_t channel = item % quads * 4;
      const bool works = item < items && share < shares;
      float4 x = make_float4(0, 0, 0, 0);
      float2 total = make_float2(-INFINITY, 0);
      if (works)
        sum_pieces(s, share, shares, column, channel, x, total);
      if (shares > 1) {
        if (works)
          reinterpret_cast<float4*>(warps_)[threadIdx.x] = x;
        if (works && channel == 0)
          shared_.stats[share][column] = total;
        sync();
        for (std::uint32_t other = 1; works && share == 0 && other < shares; ++other)
          add(x, total, reinterpret_cast<const float4*>(warps_)[threadIdx.x + other * items],
              shared_.stats[other][column]);
      }
      if (works && share == 0)
        write_result(s, column, channel, x, total);
    }
  }

  /// Adds the partial (y, other) to (x, total).
  __device__ static void add(float4& x, float2& total, float4 y, float2 other) {
    const float2 both = merged(total, other);
    const float keep = partial_weight(total.x, both.x);
    x = make_float4(x.x * keep, x.y * keep, x.z * keep, x.w * keep);
    add_scaled(x, partial_weight(other.x, both.x), y);
    total = both;
  }

  /// Adds every `shares`th piece's partial, from the `share`th on.
  __device__ void sum_pieces(const attend_segment& s, std::uint32_t share, std::uint32_t shares,
                             std::uint32_t column, std::uint32_t channel, float4& x,
                             float2& total) const {
#pragma unroll 4
    for (std::uint32_t p = s.first_piece + share; p <= s.last_piece; p += shares) {
      const std::uint64_t part = std::uint64_t{partial_of(s, p)} * args_.columns + column;
      const float2 stats = __ldcg(reinterpret_cast<const float2*>(args_.partial_stats) + part);
      add(x, total,
          __ldcg(reinterpret_cast<const float4*>(args_.partial_out + part * HeadDim + channel)),
          stats);
    }
  }

  /// `x`: sums relative to the reference of `total`.
  __device__ void write_result(const attend_segment& s, std::uint32_t column, std::uint32_t channel,
                               float4 x, float2 total) const {
    const attend_launch& a = args_.launch;
    const std::uint64_t row = s.row_begin + column / args_.group;
    const std::uint64_t head = s.kv_head * args_.group + column % args_.group;
    const bool any = total.x != -INFINITY || total.y != 0; // a sum of NaN counts as well
    const float factor = any ? 1 / total.y : 0.0F;
    const std::uint64_t at = row * a.out.row_stride + head * a.out.head_stride + channel;
    const float values[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (std::uint32_t i = 0; i < 4; ++i)
      store_f32(a.out.data, a.out.type, at + i, values[i] * factor);
    if (channel == 0 && a.lse != nullptr)
      a.lse[row * a.dims.query_heads + head] = any ? (total.x + log2f(total.y)) * ln_2 : -INFINITY;
  }

  const attend_kernel_args& args_;
  attend_shared& shared_;
  float* warps_;
};

} // namespace pikv::gpu::cuda
