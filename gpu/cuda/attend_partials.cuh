// SPDX-License-Identifier: Apache-2.0
/// \file
/// Partial attentions of a run that several blocks read, and their merge. The order of the merge is
/// that of the pieces, whichever block arrives last.
#pragma once

#include <pikv/gpu/cuda/attend_ptx.cuh>
#include <pikv/gpu/cuda/attend_shared.cuh>
#include <pikv/gpu/cuda/numeric.cuh>

namespace pikv::gpu::cuda {

/// exp2(top - all), 0 for a partial that read nothing.
__device__ __forceinline__ float partial_weight(float top, float all) {
  return top == -INFINITY ? 0.0F : exp2_fast(top - all);
}

/// (reference, sum of weights) of two partials together.
__device__ __forceinline__ float2 merged(float2 a, float2 b) {
  const float top = fmaxf(a.x, b.x);
  return make_float2(top, a.y * partial_weight(a.x, top) + b.y * partial_weight(b.x, top));
}

__device__ __forceinline__ void add_scaled(float4& x, float weight, float4 y) {
  x.x = fmaf(weight, y.x, x.x);
  x.y = fmaf(weight, y.y, x.y);
  x.z = fmaf(weight, y.z, x.z);
  x.w = fmaf(weight, y.w, x.w);
}

/// Adds the partial (y, other) to (x, total).
__device__ __forceinline__ void add_partial(float4& x, float2& total, float4 y, float2 other) {
  const float2 both = merged(total, other);
  const float keep = partial_weight(total.x, both.x);
  x = make_float4(x.x * keep, x.y * keep, x.z * keep, x.w * keep);
  add_scaled(x, partial_weight(other.x, both.x), y);
  total = both;
}

/// A piece has room for two partials: of the run that begins in it and of one that began before.
__device__ __forceinline__ std::uint32_t partial_of(const attend_segment& s, std::uint32_t piece) {
  return 2 * piece + (piece == s.first_piece ? 1 : 0);
}

/// Writes four channels of a result. `x`: sums relative to the reference of `total`.
__device__ __forceinline__ void write_result(const attend_kernel_args& args,
                                             const attend_segment& s, std::uint32_t column,
                                             std::uint32_t channel, float4 x, float2 total) {
  const attend_launch& a = args.launch;
  const std::uint64_t row = s.row_begin + column / args.group;
  const std::uint64_t head = s.kv_head * args.group + column % args.group;
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

template <int HeadDim, int ColumnTiles>
class attend_partials {
public:
  static constexpr std::uint32_t quads = HeadDim / 4;
  static constexpr std::uint32_t warp_count = consumer_warps<ColumnTiles>;
  static constexpr std::uint32_t threads = 32 * warp_count;

  /// Merges a run's partials and writes its result; called by all consumer warps at once. Threads
  /// share out (column, four channels) and, where there are more threads than that, the pieces;
  /// `warps` and the block's `stats` then hold their sums.
  __device__ static void merge(const attend_kernel_args& args, attend_shared& shared, float* warps,
                               const attend_segment& s) {
    const std::uint32_t columns = s.rows * args.group;
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
        sum_pieces(args, s, share, shares, column, channel, x, total);
      if (shares > 1) {
        if (works)
          reinterpret_cast<float4*>(warps)[threadIdx.x] = x;
        if (works && channel == 0)
          shared.stats[share][column] = total;
        named_barrier(1, threads);
        for (std::uint32_t other = 1; works && share == 0 && other < shares; ++other)
          add_partial(x, total, reinterpret_cast<const float4*>(warps)[threadIdx.x + other * items],
                      shared.stats[other][column]);
      }
      if (works && share == 0)
        write_result(args, s, column, channel, x, total);
    }
  }

private:
  /// Adds every `shares`th piece's partial, from the `share`th on.
  __device__ static void sum_pieces(const attend_kernel_args& args, const attend_segment& s,
                                    std::uint32_t share, std::uint32_t shares, std::uint32_t column,
                                    std::uint32_t channel, float4& x, float2& total) {
    constexpr int batch = 8; // loads on their way at once
    for (std::uint32_t p = s.first_piece + share; p <= s.last_piece; p += batch * shares) {
      float4 y[batch];
      float2 stats[batch];
#pragma unroll
      for (int i = 0; i < batch; ++i) {
        const std::uint32_t piece = min(p + static_cast<std::uint32_t>(i) * shares, s.last_piece);
        const std::uint64_t part = std::uint64_t{partial_of(s, piece)} * args.columns + column;
        stats[i] = __ldcg(reinterpret_cast<const float2*>(args.partial_stats) + part);
        y[i] = __ldcg(reinterpret_cast<const float4*>(args.partial_out + part * HeadDim + channel));
      }
#pragma unroll
      for (int i = 0; i < batch; ++i)
        if (p + static_cast<std::uint32_t>(i) * shares <= s.last_piece)
          add_partial(x, total, y[i], stats[i]);
    }
  }
};

} // namespace pikv::gpu::cuda
