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

/// Moments and range of one channel; the channel's tokens lie in `lanes` neighbouring lanes, eight
/// each, of which the first `tokens` of the page are filled. All lanes of the warp call. Sums are
/// taken relative to the first token, so that a large mean does not swallow the variance.
__device__ __forceinline__ void summarise_channel(const float (&x)[8], std::uint32_t lanes,
                                                  std::uint32_t tokens, std::uint32_t channel,
                                                  const summary_target& to) {
  const std::uint32_t part = lane_id() & (lanes - 1);
  const float first = __shfl_sync(whole_warp, x[0], static_cast<int>(lane_id() - part));
  const std::uint32_t begin = part * lane_values;
  const std::uint32_t n = tokens > begin ? min(tokens - begin, lane_values) : 0;
  float sum = 0, squares = 0, low = first, high = first;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float v = i < n ? x[i] : first;
    const float delta = v - first;
    sum += delta;
    squares = fmaf(delta, delta, squares);
    low = fminf(low, v);
    high = fmaxf(high, v);
  }
  for (std::uint32_t step = 1; step < lanes; step *= 2) {
    sum += __shfl_xor_sync(whole_warp, sum, step);
    squares += __shfl_xor_sync(whole_warp, squares, step);
    low = fminf(low, __shfl_xor_sync(whole_warp, low, step));
    high = fmaxf(high, __shfl_xor_sync(whole_warp, high, step));
  }
  if (part != 0)
    return;
  const auto put = [&](std::size_t offset, __half v) {
    reinterpret_cast<__half*>(to.head + offset)[channel] = v;
  };
  const auto clamped = [](float v) {
    return __float2half_rn(fminf(fmaxf(v, -largest_f16), largest_f16));
  };
  if ((to.layout.parts & summary_mean_var) != 0) {
    const float inverse = 1.0F / static_cast<float>(tokens);
    const float shift = sum * inverse;
    put(to.layout.mean_offset, clamped(first + shift));
    put(to.layout.var_offset, clamped(fmaxf(fmaf(-shift, shift, squares * inverse), 0.0F)));
  }
  if ((to.layout.parts & summary_min_max) != 0) {
    put(to.layout.min_offset, f16_below(low));
    put(to.layout.max_offset, f16_above(high));
  }
}

/// Summarises tiles `first_tile, first_tile + step, ...` of one head's K, `Batch` at a time; the
/// whole warp calls.
template <form Stored, int Batch>
__device__ __forceinline__ void summarise_tiles(const coded_part& k, const cache_dims& dims,
                                                std::uint32_t tokens, std::uint32_t first_tile,
                                                std::uint32_t step, const summary_target& to) {
  const std::uint32_t tiles = dims.head_dim * dims.page_tokens / tile_values;
  const std::uint32_t lanes = dims.page_tokens / lane_values;
  const std::uint32_t per_tile = warp_lanes / lanes; // channels
  const std::uint32_t shift = __ffs(static_cast<int>(lanes)) - 1;
  for (std::uint32_t tile = first_tile; tile < tiles; tile += Batch * step) {
    fetched8<Stored> x[Batch];
#pragma unroll
    for (int j = 0; j < Batch; ++j)
      if (tile + j * step < tiles)
        x[j] = fetch8<Stored>(k, (tile + j * step) * tile_values + lane_id() * lane_values);
#pragma unroll
    for (int j = 0; j < Batch; ++j)
      if (tile + j * step < tiles) {
        float y[8];
        widen<Stored>(x[j], y);
        summarise_channel(y, lanes, tokens, (tile + j * step) * per_tile + (lane_id() >> shift),
                          to);
      }
  }
}

} // namespace pikv::gpu::cuda
