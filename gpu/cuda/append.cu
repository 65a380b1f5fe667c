// SPDX-License-Identifier: Apache-2.0
// A block takes one KV head of the targets of the pages that begin in its stretch of the target
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
  // Of append_complete only.
  const append_completion* completions = nullptr;
  summary_layout layout;
  form coded = form::int8;
  std::uint32_t k_group_log2 = 0;
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

/// Divides the targets into chunks and singles, in order. The first warp works.
__device__ void find_chunks(std::uint32_t chunk, target_list& t) {
  for (std::uint32_t i = t.begin + threadIdx.x; i < t.end; i += tuning.threads) {
    bool whole = t.slot[i] % chunk == 0 && i + chunk <= t.end;
    for (std::uint32_t j = 1; whole && j < chunk; ++j)
      whole = t.page[i + j] == t.page[i] && t.slot[i + j] == t.slot[i] + j;
    t.starts_chunk[i] = whole ? 1 : 0;
  }
  __syncthreads();
  if (warp_id() == 0) {
    std::uint32_t chunks = 0, singles = 0;
    for (std::uint32_t base = t.begin; base < t.end; base += warp_lanes) {
      const std::uint32_t i = base + lane_id();
      const bool in = i < t.end;
      const std::uint32_t back = in ? t.slot[i] % chunk : 0;
      const bool covered = in && i >= t.begin + back && t.starts_chunk[i - back] != 0
                           && t.page[i - back] == t.page[i];
      const unsigned heads = __ballot_sync(whole_warp, covered && back == 0);
      const unsigned alone = __ballot_sync(whole_warp, in && !covered);
      const unsigned before = (1U << lane_id()) - 1;
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
    }
  }
  __syncthreads();
}

template <class T>
__device__ __forceinline__ raw8<T> load_row(const tensor_ref& x, bool aligned, std::uint32_t row,
                                            std::uint32_t head, std::uint32_t channel) {
  const T* p = reinterpret_cast<const T*>(x.data) + row * x.row_stride + head * x.head_stride
               + channel;
  if (aligned)
    return load_raw8(p);
  T y[8];
#pragma unroll
  for (int i = 0; i < 8; ++i)
    y[i] = p[i];
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
      store_raw8(to + t.slot[t.begin + i] * s.x.dims.head_dim + channel, converted<Out>(v[j]));
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
    *reinterpret_cast<uint4*>(column(target, channel)) = *reinterpret_cast<const uint4*>(x);
  }
  for (std::uint32_t u = threadIdx.x; u < t.single_count * dim; u += tuning.threads) {
    const std::uint32_t channel = u / t.single_count;
    const std::uint32_t target = t.singles[u - channel * t.single_count];
    *column(target, channel) = value(target, channel);
  }
}

/// What the warps of a block tell each other about a page that they encode.
struct encode_storage {
  float largest[4];
  float error[4], norm[4];
  bool fits[4];
};

/// Encodes K and V of one head of a full page, two warps each.
template <class T, form Target>
__device__ void encode_full(const append_shape& s, const append_completion& to,
                            const std::byte* page, std::uint32_t head, const head_offsets& from,
                            encode_storage& t) {
  static_assert(tuning.threads == 128);
  const head_offsets& at = s.offsets.of[static_cast<int>(Target)];
  const std::uint32_t warp = warp_id();
  const auto part = part_at<T>(page + std::size_t{head} * from.bytes,
                               to.coded + std::size_t{head} * at.bytes, from, at, s.x.dims,
                               s.k_group_log2, s.x.dims.page_tokens, warp < 2);
  lane_quality q;
  const warp_tiles mine{warp % 2, 2};
  if constexpr (Target == form::fp8)
    encode_part_fp8<4>(part, mine, [&](float x) {
      x = warp_largest(x);
      if (lane_id() == 0)
        t.largest[warp] = x;
      __syncthreads();
      return max_nan(x, t.largest[warp ^ 1]);
    }, q);
  else
    encode_part<Target, 4>(part, mine, q);
  const float error = warp_sum(q.error);
  const float norm = warp_sum(q.norm);
  const bool fits = __all_sync(whole_warp, q.representable) != 0;
  if (lane_id() == 0) {
    t.error[warp] = error;
    t.norm[warp] = norm;
    t.fits[warp] = fits;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    codec_error e;
    e.k_error = static_cast<double>(t.error[0]) + static_cast<double>(t.error[1]);
    e.k_norm = static_cast<double>(t.norm[0]) + static_cast<double>(t.norm[1]);
    e.v_error = static_cast<double>(t.error[2]) + static_cast<double>(t.error[3]);
    e.v_norm = static_cast<double>(t.norm[2]) + static_cast<double>(t.norm[3]);
    e.representable = t.fits[0] && t.fits[1] && t.fits[2] && t.fits[3];
    to.errors[head] = e;
  }
  __syncthreads();
}

/// Summary of a page whose tokens are all in shared memory, the first at `rows`.
template <class T>
__device__ __forceinline__ void summarise_rows(const append_shape& s, const std::byte* rows,
                                               std::uint32_t row_bytes, const summary_target& to) {
  const bool moments = (to.layout.parts & summary_mean_var) != 0;
  const bool range = (to.layout.parts & summary_min_max) != 0;
  const std::uint32_t n = s.x.dims.page_tokens;
  const float inverse = 1.0F / static_cast<float>(n);
  for (std::uint32_t c = threadIdx.x; c < s.x.dims.head_dim; c += tuning.threads) {
    const auto value = [&](std::uint32_t i) {
      return to_f32(reinterpret_cast<const T*>(rows + i * row_bytes)[c]);
    };
    channel_sums sums(value(0));
#pragma unroll 8
    for (std::uint32_t i = 1; i < n; ++i) {
      const float x = value(i);
      if (moments)
        sums.add_moments(x);
      if (range)
        sums.add_range(x);
    }
    sums.put(inverse, c, to);
  }
}

/// Summaries of the pages whose last slot the block has written.
template <class T>
__device__ void summarise_full(const append_shape& s, const target_list& t, std::uint32_t head,
                               const head_offsets& from, const std::byte* rows,
                               std::uint32_t row_bytes) {
  constexpr form raw = sizeof(T) == 4 ? form::f32
                       : std::is_same_v<T, __half> ? form::f16
                                                   : form::bf16;
  const std::uint32_t last = s.x.dims.page_tokens - 1;
  for (std::uint32_t i = t.begin; i < t.end; ++i) {
    if (t.slot[i] != last)
      continue;
    const append_completion to = s.completions[blockIdx.x * s.stretch + i];
    if (to.summary == nullptr)
      continue;
    const summary_target out{to.summary + head * s.layout.head_bytes, s.layout};
    if (i >= t.begin + last && t.slot[i - last] == 0 && t.page[i - last] == t.page[i])
      summarise_rows<T>(s, rows + (i - last - t.begin) * row_bytes, row_bytes, out);
    else // its earlier tokens are in the page only
      summarise_tiles<raw, 2>(coded_at(t.page[i] + std::size_t{head} * from.bytes, from, 0, true),
                              s.x.dims, last + 1, warp_id(), tuning.threads / 32, out);
  }
}

/// Encoded copies of the pages whose last slot the block has written.
template <class T>
__device__ void encode_full_pages(const append_shape& s, const target_list& t, std::uint32_t head,
                                  const head_offsets& from) {
  __shared__ encode_storage e;
  for (std::uint32_t i = t.begin; i < t.end; ++i) {
    if (t.slot[i] != s.x.dims.page_tokens - 1)
      continue;
    const append_completion to = s.completions[blockIdx.x * s.stretch + i];
    if (to.coded == nullptr)
      continue;
    if (s.coded == form::int8)
      encode_full<T, form::int8>(s, to, t.page[i], head, from, e);
    else if (s.coded == form::int4)
      encode_full<T, form::int4>(s, to, t.page[i], head, from, e);
    else
      encode_full<T, form::fp8>(s, to, t.page[i], head, from, e);
  }
}

/// What a launch does with the pages that it fills.
enum class finish { nothing, summary, summary_and_copy };

template <class In, class Out, finish Finish>
__global__ void __launch_bounds__(tuning.threads)
    append_kernel(const __grid_constant__ append_shape s) {
  extern __shared__ __align__(16) std::byte rows[];
  __shared__ target_list t;
  const std::uint32_t head = blockIdx.y;
  const head_offsets at = s.offsets.of[static_cast<int>(s.x.stored)];
  const std::uint32_t row_bytes = s.x.dims.head_dim * sizeof(Out) + row_padding_bytes;
  if (!load_targets(s, t))
    return;
  take_rows<In, Out>(s, t, head, at, rows, row_bytes);
  find_chunks(16 / sizeof(Out), t); // its barriers also publish the rows
  put_columns<Out>(s, t, head, at, rows, row_bytes);
  if constexpr (Finish != finish::nothing) {
    __syncthreads(); // pages are read back
    summarise_full<Out>(s, t, head, at, rows, row_bytes);
  }
  if constexpr (Finish == finish::summary_and_copy)
    encode_full_pages<Out>(s, t, head, at);
}

bool starts_at_16_bytes(const tensor_ref& x) noexcept {
  const std::size_t n = size_of(x.type);
  return (reinterpret_cast<std::uintptr_t>(x.data) | x.row_stride * n | x.head_stride * n) % 16 == 0;
}

template <finish Finish>
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
  s.stretch = x.count <= tuning.short_list ? tuning.short_stretch : tuning.stretch;
  const std::size_t shared = (s.stretch + x.dims.page_tokens - 1)
                             * (x.dims.head_dim * element + row_padding_bytes);
  const dim3 grid((x.count + s.stretch - 1) / s.stretch, x.dims.kv_heads);
  pikv::error failed;
  with_raw(raw_form(x.k.type), [&](auto in) {
    with_raw(x.stored, [&](auto out) {
      auto kernel = append_kernel<decltype(in), decltype(out), Finish>;
      if (shared > 32 * 1024) {
        const auto code = cudaFuncSetAttribute(
            kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
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

} // namespace

result<void> append(const append_launch& x, CUstream_st* stream) {
  append_shape s;
  s.x = x;
  return launch_append<finish::nothing>(s, stream);
}

result<void> append_complete(const append_complete_launch& x, CUstream_st* stream) {
  if (x.with_copies && is_raw(x.coded))
    return pikv::error{errc::invalid_argument, "append: encoded copies are int8, int4 or fp8"};
  append_shape s;
  s.x = x.append;
  s.completions = x.completions;
  if (auto ok = check_dims("append", s.x.dims); !ok)
    return ok;
  s.layout = summary_layout_of(s.x.dims, x.parts);
  s.coded = x.coded;
  s.k_group_log2 =
      static_cast<std::uint32_t>(std::countr_zero(layout_of(s.x.dims, form::int8).k_group));
  return x.with_copies ? launch_append<finish::summary_and_copy>(s, stream)
                       : launch_append<finish::summary>(s, stream);
}

} // namespace pikv::gpu::cuda
