// SPDX-License-Identifier: Apache-2.0
/// \file
/// Rows of K and V on their way through a block of an append: into pages, columns and summaries.
#pragma once

#include <pikv/gpu/cuda/append_targets.cuh>
#include <pikv/gpu/cuda/codec_encode.cuh>
#include <pikv/gpu/cuda/numeric.cuh>
#include <pikv/gpu/cuda/summary_device.cuh>

namespace pikv::gpu::cuda::append_detail {

template <class T>
__device__ __forceinline__ raw8<T> load_row(const tensor_ref& x, bool aligned, std::uint32_t row,
                                            std::uint32_t head, std::uint32_t channel) {
  const T* p =
      reinterpret_cast<const T*>(x.data) + row * x.row_stride + head * x.head_stride + channel;
  if (aligned)
    return load_raw8(in_global(p));
  T y[8];
#pragma unroll
  for (int i = 0; i < 8; ++i)
    y[i] = *in_global(p + i);
  raw8<T> out;
  memcpy(&out, y, sizeof y);
  return out;
}

template <class Out, class In>
__device__ __forceinline__ raw8<Out> converted(const raw8<In>& x) {
  if constexpr (std::is_same_v<In, Out>) {
    return x;
  } else {
    float y[8];
    widen(x, y);
    return narrow<Out>(y);
  }
}

/// V rows to their slots, K rows to shared memory `[targets, head_dim]`.
template <class In, class Out>
__device__ void take_rows(const append_shape& s, const target_list& t, std::uint32_t head,
                          const head_offsets& at, std::byte* rows, std::uint32_t row_bytes) {
  constexpr int in_flight = tuning.rows_in_flight;
  const std::uint32_t units = s.x.dims.head_dim / lane_values; // of a row
  const std::uint32_t total = (t.end - t.begin) * units;
  for (std::uint32_t first = threadIdx.x; first < total; first += in_flight * tuning.threads) {
    raw8<In> k[in_flight], v[in_flight];
#pragma unroll
    for (int j = 0; j < in_flight; ++j) {
      const std::uint32_t u = first + j * tuning.threads;
      if (u >= total)
        continue;
      const std::uint32_t row = t.row[t.begin + u / units];
      const std::uint32_t channel = u % units * lane_values;
      k[j] = load_row<In>(s.x.k, s.aligned, row, head, channel);
      v[j] = load_row<In>(s.x.v, s.aligned, row, head, channel);
    }
#pragma unroll
    for (int j = 0; j < in_flight; ++j) {
      const std::uint32_t u = first + j * tuning.threads;
      if (u >= total)
        continue;
      const std::uint32_t i = u / units;
      const std::uint32_t channel = u % units * lane_values;
      store_raw8(reinterpret_cast<Out*>(rows + i * row_bytes) + channel, converted<Out>(k[j]));
      Out* to = reinterpret_cast<Out*>(t.page[t.begin + i] + std::size_t{head} * at.bytes + at.v);
      store_raw8(in_global(to + t.slot[t.begin + i] * s.x.dims.head_dim + channel),
                 converted<Out>(v[j]));
    }
  }
}

/// K columns from shared memory to the pages.
template <class Out>
__device__ void put_columns(const append_shape& s, const target_list& t, std::uint32_t head,
                            const head_offsets& at, const std::byte* rows,
                            std::uint32_t row_bytes) {
  constexpr std::uint32_t chunk = 16 / sizeof(Out);
  const std::uint32_t dim = s.x.dims.head_dim;
  const auto column = [&](std::uint32_t target, std::uint32_t channel) {
    return reinterpret_cast<Out*>(t.page[target] + std::size_t{head} * at.bytes)
           + channel * s.x.dims.page_tokens + t.slot[target];
  };
  const auto value = [&](std::uint32_t target, std::uint32_t channel) {
    return reinterpret_cast<const Out*>(rows + (target - t.begin) * row_bytes)[channel];
  };
  for (std::uint32_t u = threadIdx.x; u < t.chunk_count * dim; u += tuning.threads) {
    const std::uint32_t channel = u / t.chunk_count;
    const std::uint32_t target = t.chunks[u - channel * t.chunk_count];
    alignas(16) Out x[chunk];
#pragma unroll
    for (std::uint32_t j = 0; j < chunk; ++j)
      x[j] = value(target + j, channel);
    *in_global(reinterpret_cast<uint4*>(column(target, channel))) =
        *reinterpret_cast<const uint4*>(x);
  }
  for (std::uint32_t u = threadIdx.x; u < t.single_count * dim; u += tuning.threads) {
    const std::uint32_t channel = u / t.single_count;
    const std::uint32_t target = t.singles[u - channel * t.single_count];
    *in_global(column(target, channel)) = value(target, channel);
  }
}

/// Channels of 16 bits go in pairs, so that shared memory is read a word a lane.
template <class T>
struct channel_pair {
  static constexpr std::uint32_t channels = sizeof(T) == 4 ? 1 : 2;
  __device__ static __forceinline__ float2 load(const std::byte* row, std::uint32_t c) {
    if constexpr (sizeof(T) == 4)
      return {reinterpret_cast<const float*>(row)[c], 0};
    else if constexpr (std::is_same_v<T, __half>)
      return __half22float2(*reinterpret_cast<const __half2*>(row + 2 * c));
    else
      return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(row + 2 * c));
  }
};

/// Summary of a page whose tokens are all in shared memory, the first at `rows`.
template <class T>
__device__ __forceinline__ void summarise_rows(const append_shape& s, const std::byte* rows,
                                               std::uint32_t row_bytes, const summary_target& to) {
  using pair = channel_pair<T>;
  const bool moments = (to.layout.parts & summary_mean_var) != 0;
  const bool range = (to.layout.parts & summary_min_max) != 0;
  const std::uint32_t n = s.x.dims.page_tokens;
  const float inverse = 1.0F / static_cast<float>(n);
  for (std::uint32_t c = threadIdx.x * pair::channels; c < s.x.dims.head_dim;
       c += tuning.threads * pair::channels) {
    const float2 first = pair::load(rows, c);
    channel_sums a(first.x), b(first.y);
#pragma unroll 8
    for (std::uint32_t i = 0; i < n; ++i) {
      const float2 x = pair::load(rows + i * row_bytes, c);
      if (moments) {
        a.add_moments(x.x);
        b.add_moments(x.y);
      }
      if (range) {
        a.add_range(x.x);
        b.add_range(x.y);
      }
    }
    a.put(inverse, c, to);
    if (pair::channels == 2)
      b.put(inverse, c + 1, to);
  }
}

/// Whether all tokens of the page that target `i` fills are in shared memory, in order.
__device__ __forceinline__ bool is_whole(const target_list& t, std::uint32_t i,
                                         std::uint32_t page_tokens) {
  const std::uint32_t last = page_tokens - 1;
  return i >= t.begin + last && t.slot[i - last] == 0 && t.page[i - last] == t.page[i];
}

/// Summaries of the pages that the block has filled: of those that are whole in shared memory, or
/// of the others, whose K must be in the page.
template <bool Whole, class T>
__device__ __forceinline__ void summarise_full(const append_shape& s, const target_list& t,
                                               std::uint32_t head, const head_offsets& from,
                                               const std::byte* rows, std::uint32_t row_bytes) {
  const std::uint32_t page_tokens = s.x.dims.page_tokens;
  for (std::uint32_t n = 0; n < t.full_count; ++n) {
    const std::uint32_t i = t.full[n];
    if (t.summary[i] == nullptr || is_whole(t, i, page_tokens) != Whole)
      continue;
    const summary_target out{t.summary[i] + head * s.layout.head_bytes, s.layout};
    if constexpr (Whole)
      summarise_rows<T>(s, rows + (i + 1 - page_tokens - t.begin) * row_bytes, row_bytes, out);
    else
      with_lanes(page_tokens, [&](auto lanes) {
        summarise_tiles<form_of<T>(), decltype(lanes)::value, 1>(
            coded_at(t.page[i] + std::size_t{head} * from.bytes, from, 0, true), s.x.dims,
            page_tokens, warp_id(), tuning.threads / 32, out);
      });
  }
}

} // namespace pikv::gpu::cuda::append_detail
