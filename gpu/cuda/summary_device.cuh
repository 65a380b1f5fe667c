// SPDX-License-Identifier: Apache-2.0
/// \file
/// The summary of eight tokens a lane of one channel of K, and its merge over a channel's lanes.
#pragma once

#include <pikv/gpu/cuda/codec_decode.cuh>

namespace pikv::gpu::cuda {

/// Where one head's summary goes.
struct summary_target {
  std::byte* head = nullptr;
  summary_layout layout;
};

/// Moments and range of one channel of a page; `lanes` neighbouring lanes hold its tokens.
struct channel_sums {
  float first = 0;            ///< token 0: sums are relative to it, so that a large mean does not
                              ///< swallow the variance
  float sum = 0, squares = 0; ///< of x - first
  float low = 0, high = 0;

  __device__ __forceinline__ explicit channel_sums(float x) : first(x), low(x), high(x) {}

  __device__ __forceinline__ void add_moments(float x) {
    const float delta = x - first;
    sum += delta;
    squares = fmaf(delta, delta, squares);
  }
  __device__ __forceinline__ void add_range(float x) {
    low = fminf(low, x);
    high = fmaxf(high, x);
  }
  /// Writes the channel's entries of the summary of `1 / inverse` tokens.
  __device__ __forceinline__ void put(float inverse, std::uint32_t channel,
                                      const summary_target& to) const {
    const auto write = [&](std::size_t offset, __half v) {
      in_global(reinterpret_cast<__half*>(to.head + offset))[channel] = v;
    };
    const auto clamped = [](float v) {
      return __float2half_rn(fminf(fmaxf(v, -largest_f16), largest_f16));
    };
    if ((to.layout.parts & summary_mean_var) != 0) {
      const float shift = sum * inverse;
      write(to.layout.mean_offset, clamped(first + shift));
      write(to.layout.var_offset, clamped(fmaxf(fmaf(-shift, shift, squares * inverse), 0.0F)));
    }
    if ((to.layout.parts & summary_min_max) != 0) {
      write(to.layout.min_offset, f16_below(low));
      write(to.layout.max_offset, f16_above(high));
    }
  }
};

/// Summarises a channel from 8 * Vectors tokens a lane; `Lanes` neighbouring lanes hold the
/// channel. All lanes of the warp call. `n`: filled ones among the lane's tokens, the first ones.
template <std::uint32_t Lanes, int Vectors>
__device__ __forceinline__ void summarise_channel(float (&x)[Vectors][8], std::uint32_t n,
                                                  float inverse, std::uint32_t channel,
                                                  const summary_target& to) {
  constexpr std::uint32_t values = 8 * Vectors;
  const std::uint32_t part = lane_id() & (Lanes - 1);
  channel_sums s(Lanes == 1 ? x[0][0]
                            : __shfl_sync(whole_warp, x[0][0], static_cast<int>(lane_id() - part)));
  if (n < values)
#pragma unroll
    for (std::uint32_t i = 0; i < values; ++i)
      x[i / 8][i % 8] = i < n ? x[i / 8][i % 8] : s.first;
  if ((to.layout.parts & summary_mean_var) != 0) {
#pragma unroll
    for (std::uint32_t i = 0; i < values; ++i)
      s.add_moments(x[i / 8][i % 8]);
#pragma unroll
    for (std::uint32_t step = 1; step < Lanes; step *= 2) {
      s.sum += __shfl_xor_sync(whole_warp, s.sum, step);
      s.squares += __shfl_xor_sync(whole_warp, s.squares, step);
    }
  }
  if ((to.layout.parts & summary_min_max) != 0) {
#pragma unroll
    for (std::uint32_t i = 0; i < values; ++i)
      s.add_range(x[i / 8][i % 8]);
#pragma unroll
    for (std::uint32_t step = 1; step < Lanes; step *= 2) {
      s.low = fminf(s.low, __shfl_xor_sync(whole_warp, s.low, step));
      s.high = fmaxf(s.high, __shfl_xor_sync(whole_warp, s.high, step));
    }
  }
  if (part == 0)
    s.put(inverse, channel, to);
}

/// Summarises every `step`-th stretch of one head's K from `first` on, `Batch` at a time; the whole
/// warp calls. A stretch is what a warp loads at once: a page of 8 tokens takes 8 a lane, longer
/// pages 16. `Eights`: page_tokens / 8.
template <form Stored, std::uint32_t Eights, int Batch>
__device__ __forceinline__ void summarise_tiles(const coded_part& k, const cache_dims& dims,
                                                std::uint32_t tokens, std::uint32_t first,
                                                std::uint32_t step, const summary_target& to) {
  constexpr int vectors = Eights == 1 ? 1 : 2;
  constexpr std::uint32_t lanes = Eights / vectors; // of a channel
  constexpr std::uint32_t values = lane_values * vectors;
  const std::uint32_t tiles = dims.head_dim * lanes / warp_lanes;
  const std::uint32_t begin = (lane_id() & (lanes - 1)) * values;
  const std::uint32_t n = tokens > begin ? min(tokens - begin, values) : 0;
  const float inverse = 1.0F / static_cast<float>(tokens);
  for (std::uint32_t tile = first; tile < tiles; tile += Batch * step) {
    fetched8<Stored> x[Batch][vectors];
#pragma unroll
    for (int j = 0; j < Batch; ++j)
#pragma unroll
      for (int v = 0; v < vectors; ++v)
        if (tile + j * step < tiles)
          x[j][v] = fetch8<Stored>(k, ((tile + j * step) * warp_lanes + lane_id()) * values
                                          + v * lane_values);
#pragma unroll
    for (int j = 0; j < Batch; ++j)
      if (tile + j * step < tiles) {
        float y[vectors][8];
#pragma unroll
        for (int v = 0; v < vectors; ++v)
          widen<Stored>(x[j][v], y[v]);
        summarise_channel<lanes, vectors>(y, n, inverse,
                                          ((tile + j * step) * warp_lanes + lane_id()) / lanes, to);
      }
  }
}

/// `f` with page_tokens / 8 as a constant, on the host or the device.
template <class F>
__host__ __device__ __forceinline__ decltype(auto) with_lanes(std::uint32_t page_tokens, F&& f) {
  switch (page_tokens) {
  case 8: return f(std::integral_constant<std::uint32_t, 1>{});
  case 16: return f(std::integral_constant<std::uint32_t, 2>{});
  case 32: return f(std::integral_constant<std::uint32_t, 4>{});
  default: return f(std::integral_constant<std::uint32_t, 8>{});
  }
}

} // namespace pikv::gpu::cuda
