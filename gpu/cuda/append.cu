// SPDX-License-Identifier: Apache-2.0
// A block takes a few KV heads of the targets of the pages that begin in its stretch of the target
// list. V rows go straight to their slots. K rows are gathered in shared memory and leave as
// columns: 16 bytes of consecutive slots where the targets hold them, else element by element.
#include <pikv/gpu/cuda/append.hpp>

#include <bit>

#include <pikv/gpu/cuda/codec_encode.cuh>
#include <pikv/gpu/cuda/codec_launch.hpp>
#include <pikv/gpu/cuda/numeric.cuh>
#include <pikv/gpu/cuda/status.hpp>
#include <pikv/gpu/cuda/summary_device.cuh>

namespace pikv::gpu::cuda {
namespace {

struct append_tuning {
  int threads = 128;
  std::uint32_t stretch = 16; ///< targets: with pages of 16 a bulk append writes whole pages
  /// A short list is cut finer, so that it spreads over the device and single tokens, whose columns
  /// take one store an element, take fewer each block.
  std::uint32_t short_list = 512;
  std::uint32_t short_stretch = 4;
  /// Heads that a block of a long list takes, so that the list is read and sorted out less often.
  std::uint32_t long_list = 8192;
  std::uint32_t heads = 4;
  int blocks = 8;         ///< resident blocks that registers must allow, between types of 16 bits
  int rows_in_flight = 2; ///< units of eight channels that a lane loads before it stores
};
constexpr append_tuning tuning{};
constexpr std::uint32_t most_targets = tuning.stretch + 63; ///< a page begins in its last target
constexpr std::uint32_t row_padding_bytes = 16; ///< keeps rows aligned and off each other's banks

struct append_shape {
  append_launch x;
  form_offsets offsets;
  bool aligned = false; ///< rows begin at multiples of 16 bytes
  std::uint32_t stretch = tuning.stretch;
  std::uint32_t heads = 1; ///< of a block
  // Of append_complete only.
  const append_completion* completions = nullptr;
  summary_layout layout;
};

/// The block's targets, and how their K columns are written.
struct target_list {
  std::byte* page[most_targets];
  std::byte* page_before; ///< of the target ahead of the stretch
  std::uint32_t row[most_targets];
  std::uint16_t slot[most_targets];
  std::uint8_t starts_chunk[most_targets]; ///< with this one, 16 bytes of consecutive slots begin
  std::uint8_t chunks[most_targets], singles[most_targets]; ///< local indices
  std::uint32_t begin, end;                                 ///< the block's part of the list
  std::uint32_t chunk_count, single_count;
  std::uint8_t full[most_targets]; ///< local indices of the targets that fill their page
  std::uint32_t full_count;
  std::byte* summary[most_targets]; ///< of those
};

/// Loads the stretch and what follows of its last page. False: no page begins here.
__device__ bool load_targets(const append_shape& s, target_list& t) {
  const append_launch& x = s.x;
  const std::uint32_t first = blockIdx.x * s.stretch;
  const std::uint32_t limit = s.stretch + x.dims.page_tokens - 1;
  const std::uint32_t available = min(limit, x.count - first);
  if (threadIdx.x == 0) {
    t.begin = s.stretch;
    t.end = available;
    t.page_before = first > 0 ? x.targets[first - 1].page : nullptr;
  }
  for (std::uint32_t i = threadIdx.x; i < available; i += tuning.threads) {
    const append_target target = x.targets[first + i];
    if (s.completions != nullptr) // loaded for all, so that none waits for its slot
      t.summary[i] = s.completions[first + i].summary;
    t.page[i] = target.page;
    t.row[i] = target.row;
    t.slot[i] = target.slot;
  }
  __syncthreads();
  for (std::uint32_t i = threadIdx.x; i < available; i += tuning.threads)
    if (t.page[i] != (i > 0 ? t.page[i - 1] : t.page_before))
      i < s.stretch ? atomicMin(&t.begin, i) : atomicMin(&t.end, i);
  __syncthreads();
  return t.begin < min(s.stretch, available);
}

/// Divides the targets into chunks and singles and finds those that fill a page, all in order.
__device__ void find_chunks(std::uint32_t chunk, std::uint32_t page_tokens, target_list& t) {
  for (std::uint32_t i = t.begin + threadIdx.x; i < t.end; i += tuning.threads) {
    bool whole = t.slot[i] % chunk == 0 && i + chunk <= t.end;
    for (std::uint32_t j = 1; whole && j < chunk; ++j)
      whole = t.page[i + j] == t.page[i] && t.slot[i + j] == t.slot[i] + j;
    t.starts_chunk[i] = whole ? 1 : 0;
  }
  __syncthreads();
  if (warp_id() == 0) {
    std::uint32_t chunks = 0, singles = 0, full = 0;
    for (std::uint32_t base = t.begin; base < t.end; base += warp_lanes) {
      const std::uint32_t i = base + lane_id();
      const bool in = i < t.end;
      const std::uint32_t back = in ? t.slot[i] % chunk : 0;
      const bool covered = in && i >= t.begin + back && t.starts_chunk[i - back] != 0
                           && t.page[i - back] == t.page[i];
      const unsigned heads = __ballot_sync(whole_warp, covered && back == 0);
      const unsigned alone = __ballot_sync(whole_warp, in && !covered);
      const bool fills = in && t.slot[i] == page_tokens - 1;
      const unsigned filling = __ballot_sync(whole_warp, fills);
      const unsigned before = (1U << lane_id()) - 1;
      if (fills)
        t.full[full + __popc(filling & before)] = static_cast<std::uint8_t>(i);
      full += __popc(filling);
      if (covered && back == 0)
        t.chunks[chunks + __popc(heads & before)] = static_cast<std::uint8_t>(i);
      if (in && !covered)
        t.singles[singles + __popc(alone & before)] = static_cast<std::uint8_t>(i);
      chunks += __popc(heads);
      singles += __popc(alone);
    }
    if (lane_id() == 0) {
      t.chunk_count = chunks;
      t.single_count = singles;
      t.full_count = full;
    }
  }
  __syncthreads();
}

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

template <class In, class Out, bool Summaries>
__global__ void __launch_bounds__(tuning.threads, sizeof(In) + sizeof(Out) == 4 ? tuning.blocks : 4)
    append_kernel(const __grid_constant__ append_shape s) {
  extern __shared__ __align__(16) std::byte rows[];
  __shared__ target_list t;
  const head_offsets at = s.offsets.of[static_cast<int>(s.x.stored)];
  const std::uint32_t row_bytes = s.x.dims.head_dim * sizeof(Out) + row_padding_bytes;
  if (!load_targets(s, t))
    return;
  find_chunks(16 / sizeof(Out), s.x.dims.page_tokens, t);
  const bool summaries = Summaries && s.layout.parts != summary_none && t.full_count > 0;
  const std::uint32_t end = min((blockIdx.y + 1) * s.heads, s.x.dims.kv_heads);
  for (std::uint32_t head = blockIdx.y * s.heads; head < end; ++head) {
    take_rows<In, Out>(s, t, head, at, rows, row_bytes);
    __syncthreads();
    if (summaries)
      summarise_full<true, Out>(s, t, head, at, rows, row_bytes);
    put_columns<Out>(s, t, head, at, rows, row_bytes);
    __syncthreads();
    if (summaries)
      summarise_full<false, Out>(s, t, head, at, rows, row_bytes);
  }
}

/// Encodes the pages that the targets of a block have filled.
template <class T, form Target, int Vectors>
__global__ void __launch_bounds__(tuning.threads, sizeof(T) == 2 ? 6 : 4)
    copy_kernel(const __grid_constant__ encode_shape s, const append_target* targets,
                const append_completion* completions, std::uint32_t count) {
  constexpr int warps = tuning.threads / 32;
  const std::uint32_t first = blockIdx.x * tuning.stretch;
  for (std::uint32_t i = first; i < min(first + tuning.stretch, count); ++i) {
    if (targets[i].slot != s.dims.page_tokens - 1)
      continue;
    const append_completion to = completions[i];
    if (to.coded == nullptr)
      continue;
    lane_quality k, v;
    encode_page<Target, Vectors, 4, warps, T>(s, targets[i].page, to.coded, s.dims.page_tokens, k,
                                              v);
    write_errors<warps>(k, v, to.errors);
    __syncthreads();
  }
}

bool starts_at_16_bytes(const tensor_ref& x) noexcept {
  const std::size_t n = size_of(x.type);
  return (reinterpret_cast<std::uintptr_t>(x.data) | x.row_stride * n | x.head_stride * n) % 16
         == 0;
}

template <bool Summaries>
result<void> launch_append(append_shape s, CUstream_st* stream) {
  const append_launch& x = s.x;
  if (auto ok = check_dims("append", x.dims); !ok)
    return ok;
  if (!is_raw(x.stored) || x.k.type != x.v.type)
    return pikv::error{errc::invalid_argument,
                       "append: needs raw pages, and k and v of one element type"};
  if (x.count == 0)
    return {};
  s.offsets = offsets_of(x.dims);
  s.aligned = starts_at_16_bytes(x.k) && starts_at_16_bytes(x.v);
  const std::size_t element = x.stored == form::f32 ? 4 : 2;
  const bool is_short = x.count <= tuning.short_list;
  s.stretch = is_short ? tuning.short_stretch : tuning.stretch;
  s.heads = x.count >= tuning.long_list ? tuning.heads : 1;
  const std::size_t shared =
      (s.stretch + x.dims.page_tokens - 1) * (x.dims.head_dim * element + row_padding_bytes);
  const dim3 grid((x.count + s.stretch - 1) / s.stretch, (x.dims.kv_heads + s.heads - 1) / s.heads);
  pikv::error failed;
  with_raw(raw_form(x.k.type), [&](auto in) {
    with_raw(x.stored, [&](auto out) {
      auto kernel = append_kernel<decltype(in), decltype(out), Summaries>;
      if (shared > 32 * 1024) {
        const auto code = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                               static_cast<int>(shared));
        if (code != cudaSuccess) {
          failed = cuda_error(code, "cudaFuncSetAttribute");
          return;
        }
      }
      kernel<<<grid, tuning.threads, shared, stream>>>(s);
    });
  });
  if (failed.code != errc::ok)
    return failed;
  return check_launch("append");
}

result<void> copy_full_pages(const append_complete_launch& x, CUstream_st* stream) {
  const append_launch& a = x.append;
  const encode_shape s = encode_shape_of(a.dims);
  const std::uint32_t blocks = (a.count + tuning.stretch - 1) / tuning.stretch;
  with_raw(a.stored, [&](auto tag) {
    using T = decltype(tag);
    const auto launch = [&](auto kernel) {
      kernel<<<blocks, tuning.threads, 0, stream>>>(s, a.targets, x.completions, a.count);
    };
    const bool small = s.k_group_log2 == 3;
    if (x.coded == form::int8)
      small ? launch(copy_kernel<T, form::int8, 1>) : launch(copy_kernel<T, form::int8, 2>);
    else if (x.coded == form::int4)
      small ? launch(copy_kernel<T, form::int4, 1>) : launch(copy_kernel<T, form::int4, 2>);
    else
      launch(copy_kernel<T, form::fp8, 1>);
  });
  return check_launch("append copies");
}

} // namespace

result<void> append(const append_launch& x, CUstream_st* stream) {
  append_shape s;
  s.x = x;
  return launch_append<false>(s, stream);
}

result<void> append_complete(const append_complete_launch& x, CUstream_st* stream) {
  if (x.with_copies && is_raw(x.coded))
    return pikv::error{errc::invalid_argument, "append: encoded copies are int8, int4 or fp8"};
  append_shape s;
  s.x = x.append;
  s.completions = x.completions;
  s.layout = summary_layout_of(s.x.dims, x.parts);
  if (auto ok = launch_append<true>(s, stream); !ok || !x.with_copies || s.x.count == 0)
    return ok;
  return copy_full_pages(x, stream);
}

} // namespace pikv::gpu::cuda
