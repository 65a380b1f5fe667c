// SPDX-License-Identifier: Apache-2.0
// Both estimates are linear in two vectors per page, so both are dot products of length
// 2 * head_dim with a page's summary as it lies in memory: mass takes (q, q^2 / 2) against (mean,
// variance), quest takes (negative part, positive part of q) against (min, max).
//
// A warp takes 32 pages of one KV head, eight at a time. Each lane copies its 16 bytes of every
// page to shared memory ahead of use and reads back only what it copied itself, so no barrier is
// needed. Eight pages times four query rows make 32 sums, which one exchange spreads over the lanes.
#include <pikv/gpu/cuda/score.hpp>

#include <algorithm>

#include <pikv/gpu/cuda/codec_launch.hpp>
#include <pikv/gpu/cuda/codec_numeric.cuh>
#include <pikv/gpu/cuda/numeric.cuh>
#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {
namespace {

struct score_tuning {
  int threads = 128;
  int stages = 3;       ///< batches of pages that a warp's copies may run ahead
  int query_rows = 16;  ///< that a block takes; a multiple of four
};
constexpr score_tuning tuning{};
constexpr std::uint32_t warps = tuning.threads / 32;
constexpr std::uint32_t batch = 8; ///< pages
constexpr std::uint32_t pages_per_warp = warp_lanes;
constexpr std::uint32_t pages_per_block = pages_per_warp * warps;
constexpr int rows_at_once = 4; ///< query rows: times batch, the lanes of a warp

/// What one lane knows of one page.
struct page_source {
  const std::byte* summary = nullptr; ///< the two vectors of the block's head; null: no score
  float base = 0;                     ///< added to the dot product
};

__device__ page_source source_of(const score_launch& x, const attend_sequence& s, std::uint32_t index,
                                 std::uint32_t head) {
  page_source p;
  if (index >= s.settled_count)
    return p;
  const page_view page = s.settled[index];
  const std::uint8_t needed = x.kind == score_kind::mass ? summary_mean_var : summary_min_max;
  if (page.data == nullptr || page.summary == nullptr || (page.summary_parts & needed) == 0)
    return p;
  const std::uint32_t pair = 2 * x.dims.head_dim * sizeof(__half);
  const bool both = page.summary_parts == (summary_mean_var | summary_min_max);
  p.summary = page.summary + std::size_t{head} * (both ? 2 * pair : pair)
              + (both && x.kind == score_kind::quest ? pair : 0);
  p.base = x.kind == score_kind::mass ? logf(static_cast<float>(page.tokens)) : 0.0F;
  return p;
}

__device__ __forceinline__ void copy_ahead(void* shared, const void* global) {
  const auto to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
}
__device__ __forceinline__ void close_group() { asm volatile("cp.async.commit_group;"); }
template <int Left>
__device__ __forceinline__ void wait_groups() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Left) : "memory");
}

/// Coefficients of the block's query rows, f32 `[query rows, 2 * head_dim]`; zero beyond the last.
__device__ void load_coefficients(const score_launch& x, const attend_sequence& s, std::uint32_t head,
                                  std::uint32_t first, std::uint32_t rows, float* out) {
  const std::uint32_t dim = x.dims.head_dim, group = x.dims.group();
  const std::uint32_t padded = (rows + rows_at_once - 1) / rows_at_once * rows_at_once;
  for (std::uint32_t i = threadIdx.x; i < padded * dim; i += tuning.threads) {
    const std::uint32_t r = i / dim, c = i % dim;
    float q = 0;
    if (r < rows)
      q = load_f32(x.q.data, x.q.type,
                   (s.row_begin + (first + r) / group) * x.q.row_stride
                       + (head * group + (first + r) % group) * x.q.head_stride + c)
          * x.scale;
    const bool mass = x.kind == score_kind::mass;
    out[2 * r * dim + c] = mass ? q : fminf(q, 0.0F);
    out[(2 * r + 1) * dim + c] = mass ? 0.5F * q * q : fmaxf(q, 0.0F);
  }
}

/// Sums of 2 * Step values over the lanes, in groups of 2 * Step neighbours; a lane gets the sum of
/// the value whose index it has within its group.
template <int Step>
__device__ __forceinline__ float spread_sums(const float (&x)[2 * Step]) {
  const bool upper = (lane_id() & Step) != 0;
  float y[Step];
#pragma unroll
  for (int i = 0; i < Step; ++i)
    y[i] = (upper ? x[i + Step] : x[i])
           + __shfl_xor_sync(whole_warp, upper ? x[i] : x[i + Step], Step);
  if constexpr (Step > 1)
    return spread_sums<Step / 2>(y);
  else
    return y[0];
}

/// Dot products of eight pages with four query rows; value row * 8 + page goes to that lane.
/// `Units`: groups of eight summary values that a lane has of each page.
template <int Units>
__device__ __forceinline__ float dot_products(const uint4* pages, std::uint32_t page_units,
                                              const float (&q)[Units][rows_at_once][8]) {
  float sums[32];
#pragma unroll
  for (int p = 0; p < static_cast<int>(batch); ++p) {
    float acc[rows_at_once] = {};
#pragma unroll
    for (int u = 0; u < Units; ++u) {
      const std::uint32_t unit = lane_id() + u * warp_lanes;
      raw8<__half> raw{};
      if (unit < page_units)
        raw.bits[0] = pages[p * page_units + unit];
      float y[8];
      widen(raw, y);
#pragma unroll
      for (int r = 0; r < rows_at_once; ++r)
#pragma unroll
        for (int i = 0; i < 8; ++i)
          acc[r] = fmaf(y[i], q[u][r][i], acc[r]);
    }
#pragma unroll
    for (int r = 0; r < rows_at_once; ++r)
      sums[r * static_cast<int>(batch) + p] = acc[r];
  }
  return spread_sums<16>(sums);
}

template <int Units>
__device__ __forceinline__ void load_lane_queries(const float* coefficients, std::uint32_t length,
                                                  std::uint32_t first,
                                                  float (&q)[Units][rows_at_once][8]) {
#pragma unroll
  for (int u = 0; u < Units; ++u)
#pragma unroll
    for (int r = 0; r < rows_at_once; ++r) {
      const std::uint32_t at = (lane_id() + u * warp_lanes) * lane_values;
#pragma unroll
      for (int i = 0; i < 8; i += 4) {
        const float4 x = at < length ? *reinterpret_cast<const float4*>(
                                           coefficients + (first + r) * length + at + i)
                                     : float4{0, 0, 0, 0};
        q[u][r][i] = x.x, q[u][r][i + 1] = x.y, q[u][r][i + 2] = x.z, q[u][r][i + 3] = x.w;
      }
    }
}

template <int Units>
__global__ void __launch_bounds__(tuning.threads)
    score_kernel(const __grid_constant__ score_launch x, std::uint32_t row_tiles) {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
  extern __shared__ __align__(16) std::byte shared[];
  const attend_sequence s = x.sequences[blockIdx.z / row_tiles];
  const std::uint32_t head = blockIdx.y, group = x.dims.group();
  const std::uint32_t first_row = blockIdx.z % row_tiles * tuning.query_rows; // of row_count * group
  const std::uint32_t first_page = blockIdx.x * pages_per_block;
  if (first_row >= s.row_count * group || first_page >= s.settled_count)
    return;
  const std::uint32_t rows =
      min(s.row_count * group - first_row, static_cast<std::uint32_t>(tuning.query_rows));
  const std::uint32_t page_units = x.dims.head_dim * 2 / lane_values;
  const std::uint32_t warp_first = first_page + warp_id() * pages_per_warp;
  uint4* const ring = reinterpret_cast<uint4*>(shared) + warp_id() * tuning.stages * batch * page_units;
  float* const coefficients = reinterpret_cast<float*>(
      reinterpret_cast<uint4*>(shared) + warps * tuning.stages * batch * page_units);

  const page_source mine = source_of(x, s, warp_first + lane_id(), head);
  const auto fetch = [&](std::uint32_t b) {
    for (std::uint32_t p = 0; b < pages_per_warp / batch && p < batch; ++p) {
      const auto from = reinterpret_cast<const std::byte*>(
          __shfl_sync(whole_warp, reinterpret_cast<unsigned long long>(mine.summary),
                      static_cast<int>(b * batch + p)));
      uint4* const to = ring + (b % tuning.stages * batch + p) * page_units;
#pragma unroll
      for (int u = 0; u < Units; ++u) {
        const std::uint32_t unit = lane_id() + u * warp_lanes;
        if (from != nullptr && unit < page_units)
          copy_ahead(to + unit, from + unit * sizeof(uint4));
      }
    }
    close_group();
  };
#pragma unroll
  for (int b = 0; b < tuning.stages - 1; ++b)
    fetch(b);
  load_coefficients(x, s, head, first_row, rows, coefficients);
  __syncthreads();

  float q[Units][rows_at_once][8];
  load_lane_queries<Units>(coefficients, 2 * x.dims.head_dim, 0, q);
  for (std::uint32_t b = 0; b < pages_per_warp / batch; ++b) {
    if (warp_first + b * batch >= s.settled_count)
      break;
    fetch(b + tuning.stages - 1);
    wait_groups<tuning.stages - 1>();
    const std::uint32_t in_batch = lane_id() % batch;
    const int from_lane = static_cast<int>(b * batch + in_batch);
    const float base = __shfl_sync(whole_warp, mine.base, from_lane);
    const bool known = __shfl_sync(whole_warp, mine.summary != nullptr ? 1 : 0, from_lane) != 0;
    const std::uint32_t page = warp_first + b * batch + in_batch;
    for (std::uint32_t r = 0; r < rows; r += rows_at_once) {
      if (rows > rows_at_once)
        load_lane_queries<Units>(coefficients, 2 * x.dims.head_dim, r, q);
      const float dot =
          dot_products<Units>(ring + b % tuning.stages * batch * page_units, page_units, q);
      const std::uint32_t row = first_row + r + lane_id() / batch;
      if (r + lane_id() / batch < rows && page < s.settled_count)
        x.out[s.page_lse_offset
              + (row / group * std::size_t{x.dims.query_heads} + head * group + row % group)
                    * s.settled_count
              + page] = known ? base + dot : -__int_as_float(0x7F800000);
    }
  }
  wait_groups<0>();
}

std::size_t shared_bytes(const cache_dims& dims, std::uint32_t query_rows) noexcept {
  const std::size_t page_bytes = std::size_t{2} * dims.head_dim * sizeof(__half);
  return std::size_t{warps} * tuning.stages * batch * page_bytes
         + std::size_t{query_rows} * 2 * dims.head_dim * sizeof(float);
}

} // namespace

result<void> score(const score_launch& x, CUstream_st* stream) {
  if (auto ok = check_dims("score", x.dims); !ok)
    return ok;
  if (x.kind == score_kind::none || x.bounds.sequences == 0 || x.bounds.rows == 0
      || x.bounds.pages == 0)
    return {};
  const std::uint32_t row_tiles =
      (x.bounds.rows * x.dims.group() + tuning.query_rows - 1) / tuning.query_rows;
  if (std::uint64_t{x.bounds.sequences} * row_tiles > 65535)
    return pikv::error{errc::invalid_argument, "score: more than a million query rows a KV head"};
  const dim3 grid((x.bounds.pages + pages_per_block - 1) / pages_per_block, x.dims.kv_heads,
                  x.bounds.sequences * row_tiles);
  const std::uint32_t rows = std::min<std::uint32_t>(x.bounds.rows * x.dims.group(), tuning.query_rows);
  const std::size_t shared =
      shared_bytes(x.dims, (rows + rows_at_once - 1) / rows_at_once * rows_at_once);
  auto* kernel = x.dims.head_dim <= 128 ? score_kernel<1> : score_kernel<2>;
  PIKV_CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     static_cast<int>(shared)));
  kernel<<<grid, tuning.threads, shared, stream>>>(x, row_tiles);
  return check_launch("score");
}

} // namespace pikv::gpu::cuda
