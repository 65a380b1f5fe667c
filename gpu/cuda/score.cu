// SPDX-License-Identifier: Apache-2.0
// Both estimates are linear in two vectors per page, so both are dot products of length
// 2 * head_dim with a page's summary as it lies in memory: mass takes (q, q^2 / 2) against (mean,
// variance), quest takes (negative part, positive part of q) against (min, max).
//
// A warp takes 32 pages of one KV head: all their summaries are copied to shared memory at once, and
// tensor cores multiply 16 pages by four query rows. Summaries are f16 already; each coefficient
// becomes two f16, its rounded value and the rest, which keeps 22 bits of it.
#include <pikv/gpu/cuda/score.hpp>

#include <algorithm>

#include <pikv/gpu/cuda/codec_launch.hpp>
#include <pikv/gpu/cuda/codec_numeric.cuh>
#include <pikv/gpu/cuda/numeric.cuh>
#include <pikv/gpu/cuda/select_shares.cuh>
#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {
namespace {

struct score_tuning {
  int threads = 64;    ///< small blocks: their latencies overlap, and all copies are in flight
  int query_rows = 16; ///< that a block takes; a multiple of four
};
constexpr score_tuning tuning{};
constexpr std::uint32_t warps = tuning.threads / 32;
constexpr std::uint32_t pages_per_warp = warp_lanes;
constexpr std::uint32_t pages_per_block = pages_per_warp * warps;
constexpr std::uint32_t rows_at_once = 4; ///< query rows: two columns each of the multiplication
constexpr std::uint32_t row_padding_bytes = 16; ///< rows of 16 bytes more lie on other banks

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

__device__ __forceinline__ unsigned shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

/// Copies `bytes` of each lane's summary, if it has one, to its row in shared memory; the warp calls.
/// One bulk copy a lane where the device has them, else 16 bytes a lane at a time.
__device__ __forceinline__ void copy_summaries(const page_source& mine, unsigned rows,
                                               std::uint32_t row_bytes, std::uint32_t bytes,
                                               unsigned barrier) {
#if __CUDA_ARCH__ >= 900
  const unsigned there = __ballot_sync(whole_warp, mine.summary != nullptr);
  if (lane_id() == 0) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(barrier) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier),
                 "r"(__popc(there) * bytes)
                 : "memory");
  }
  __syncwarp();
  if (mine.summary != nullptr)
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(rows + lane_id() * row_bytes),
                 "l"(mine.summary), "r"(bytes), "r"(barrier)
                 : "memory");
#else
  for (std::uint32_t p = 0; p < warp_lanes; ++p) {
    const auto from = reinterpret_cast<const std::byte*>(
        __shfl_sync(whole_warp, reinterpret_cast<unsigned long long>(mine.summary),
                    static_cast<int>(p)));
    if (from != nullptr)
      for (std::uint32_t at = lane_id() * 16; at < bytes; at += warp_lanes * 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(rows + p * row_bytes + at),
                     "l"(from + at)
                     : "memory");
  }
#endif
}

/// Waits for the warp's copies.
__device__ __forceinline__ void await_summaries(unsigned barrier) {
#if __CUDA_ARCH__ >= 900
  unsigned done = 0;
  while (done == 0)
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], 0; "
                 "selp.u32 %0, 1, 0, p; }"
                 : "=r"(done)
                 : "r"(barrier)
                 : "memory");
#else
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncwarp();
#endif
}

/// Four 8x8 matrices of f16; lane i gives the address of row i % 8 of matrix i / 8.
__device__ __forceinline__ uint4 load_matrices(unsigned address) {
  uint4 x;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "r"(address)
               : "memory");
  return x;
}

/// c += a `[16, 16]` * b `[16, 8]`, f16 with f32 sums.
__device__ __forceinline__ void multiply_add(float4& c, const uint4& a, unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c.x), "+f"(c.y), "+f"(c.z), "+f"(c.w)
      : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
}

/// Coefficients of query rows as f16 pairs: row 2r holds the rounded values of query row r, row
/// 2r + 1 the rests; `[2 * query_rows, 2 * head_dim]`, rows `row_bytes` apart.
struct coefficients {
  std::byte* rows = nullptr;
  float2* factors = nullptr; ///< by query row, for the products of the two halves

  __device__ __forceinline__ void put(std::uint32_t row_bytes, std::uint32_t row, std::uint32_t at,
                                      float x) const {
    const __half high = __float2half_rn(x);
    reinterpret_cast<__half*>(rows + 2 * row * row_bytes)[at] = high;
    reinterpret_cast<__half*>(rows + (2 * row + 1) * row_bytes)[at] =
        __float2half_rn(x - __half2float(high));
  }
};

constexpr std::uint32_t row_lanes = 16; ///< lanes that prepare one query row
constexpr int row_values = 16;          ///< of a row, at most, each of them

/// Reads what this lane prepares of query row `r` (of the block): channels lane, lane + 16, ...
__device__ __forceinline__ void load_query(const score_launch& x, const attend_sequence& s,
                                           std::uint32_t head, std::uint32_t row,
                                           float (&q)[row_values]) {
  const std::uint32_t group = x.dims.group();
  const std::uint64_t begin = (s.row_begin + row / group) * x.q.row_stride
                              + (head * group + row % group) * x.q.head_stride;
  with_dtype(x.q.type, [&](auto tag) {
    const auto* p = reinterpret_cast<const decltype(tag)*>(x.q.data) + begin;
#pragma unroll
    for (int i = 0; i < row_values; ++i) {
      const std::uint32_t c = threadIdx.x % row_lanes + i * row_lanes;
      if (c < x.dims.head_dim)
        q[i] = to_f32(p[c]);
    }
  });
}

/// Writes the coefficients of query row `r` of the block. A power of two per row brings the largest
/// near 1,024, so that f16 neither overflows nor loses bits.
__device__ __forceinline__ void put_coefficients(const score_launch& x, std::uint32_t r,
                                                 float (&q)[row_values], std::uint32_t row_bytes,
                                                 const coefficients& out) {
  const std::uint32_t dim = x.dims.head_dim;
  const bool mass = x.kind == score_kind::mass;
  float top = 0;
#pragma unroll
  for (int i = 0; i < row_values; ++i) {
    q[i] *= x.scale;
    top = fmaxf(top, fabsf(q[i]));
  }
#pragma unroll
  for (int step = row_lanes / 2; step > 0; step /= 2)
    top = fmaxf(top, __shfl_xor_sync(whole_warp, top, step));
  // 9 - the exponent of the largest, read off its bits and kept away from those of no float.
  const int exponent = min(max(9 + 127 - static_cast<int>(__float_as_uint(top) >> 23), -55), 60);
  const auto power = [](int e) { return __uint_as_float(static_cast<unsigned>(127 + e) << 23); };
  const float factor = power(exponent);
#pragma unroll
  for (int i = 0; i < row_values; ++i) {
    const std::uint32_t c = threadIdx.x % row_lanes + i * row_lanes;
    if (c >= dim)
      continue;
    const float y = q[i] * factor;
    out.put(row_bytes, r, c, mass ? y : fminf(y, 0.0F));
    out.put(row_bytes, r, dim + c, mass ? y * y * 0x1p-11F : fmaxf(y, 0.0F));
  }
  if (threadIdx.x % row_lanes == 0)
    out.factors[r] = {power(-exponent), mass ? power(10 - 2 * exponent) : power(-exponent)};
}

/// Products of one half of the vectors of 32 pages with four query rows. `pages` and `rows` are this
/// lane's addresses of the first matrices.
__device__ __forceinline__ void multiply_half(unsigned pages, unsigned upper_pages, unsigned rows,
                                              std::uint32_t steps, float4 (&c)[2]) {
#pragma unroll 2
  for (std::uint32_t k = 0; k < steps; k += 2) { // head_dim is a multiple of 32
    const uint4 b = load_matrices(rows + k * 32);
    multiply_add(c[0], load_matrices(pages + k * 32), b.x, b.y);
    multiply_add(c[1], load_matrices(upper_pages + k * 32), b.x, b.y);
    multiply_add(c[0], load_matrices(pages + k * 32 + 32), b.z, b.w);
    multiply_add(c[1], load_matrices(upper_pages + k * 32 + 32), b.z, b.w);
  }
}

__global__ void __launch_bounds__(tuning.threads)
    score_kernel(const __grid_constant__ score_launch x, std::uint32_t row_tiles) {
  let_next_kernel_start();
  extern __shared__ __align__(16) std::byte shared[];
  const attend_sequence s = x.sequences[blockIdx.z / row_tiles];
  const std::uint32_t head = blockIdx.y, group = x.dims.group(), dim = x.dims.head_dim;
  const std::uint32_t first_row = blockIdx.z % row_tiles * tuning.query_rows; // of row_count * group
  const std::uint32_t first_page = blockIdx.x * pages_per_block;
  if (first_row >= s.row_count * group || first_page >= s.settled_count)
    return;
  const std::uint32_t rows =
      min(s.row_count * group - first_row, static_cast<std::uint32_t>(tuning.query_rows));
  const std::uint32_t units = dim / 4; // of 16 bytes, of a page
  const std::uint32_t row_bytes = units * 16 + row_padding_bytes;
  const std::uint32_t warp_first = first_page + warp_id() * pages_per_warp;
  std::byte* const pages = shared + warp_id() * pages_per_warp * row_bytes;
  coefficients q;
  q.factors = reinterpret_cast<float2*>(shared + pages_per_block * row_bytes);
  q.rows = shared + pages_per_block * row_bytes + tuning.query_rows * sizeof(float2);
  __shared__ std::uint64_t barriers[warps];
  const unsigned barrier = shared_address(&barriers[warp_id()]);

  // The first rows' queries are on their way while the page table is read.
  constexpr std::uint32_t rows_a_turn = tuning.threads / row_lanes;
  float values[row_values] = {};
  if (threadIdx.x / row_lanes < rows)
    load_query(x, s, head, first_row + threadIdx.x / row_lanes, values);
  const page_source mine = source_of(x, s, warp_first + lane_id(), head);
  copy_summaries(mine, shared_address(pages), row_bytes, units * 16, barrier);
  for (std::uint32_t first = 0; first < rows; first += rows_a_turn) { // beyond the rows: zeros
    const std::uint32_t r = first + threadIdx.x / row_lanes;
    if (first > 0) {
#pragma unroll
      for (float& v : values)
        v = 0;
      if (r < rows)
        load_query(x, s, head, first_row + r, values);
    }
    put_coefficients(x, r, values, row_bytes, q);
  }
  __syncthreads();
  await_summaries(barrier);

  const std::uint32_t i = lane_id() % 8, m = lane_id() / 8; // row and matrix whose address we give
  const unsigned lower = shared_address(pages) + (i + m % 2 * 8) * row_bytes + m / 2 * 16;
  const unsigned upper = lower + 16 * row_bytes;
  const std::uint32_t quad = lane_id() / 4; // the page and the query row of the sums we hold
  for (std::uint32_t r = 0; r < rows; r += rows_at_once) {
    const unsigned b = shared_address(q.rows) + (2 * r + i) * row_bytes + m * 16;
    float4 first[2] = {}, second[2] = {};
    multiply_half(lower, upper, b, dim / 16, first);
    multiply_half(lower + dim * 2, upper + dim * 2, b + dim * 2, dim / 16, second);
    const std::uint32_t own = r + lane_id() % 4;
    const float2 f = q.factors[own];
    const std::uint32_t row = first_row + own;
    float* const out = x.out + s.page_lse_offset
                       + (row / group * std::size_t{x.dims.query_heads} + head * group + row % group)
                             * s.settled_count;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float4 a = first[j / 2], c = second[j / 2];
      const float dot = (j % 2 == 0 ? a.x + a.y : a.z + a.w) * f.x
                        + (j % 2 == 0 ? c.x + c.y : c.z + c.w) * f.y;
      const std::uint32_t page = j * 8 + quad;
      const float base = __shfl_sync(whole_warp, mine.base, static_cast<int>(page));
      const bool known =
          __shfl_sync(whole_warp, mine.summary != nullptr ? 1 : 0, static_cast<int>(page)) != 0;
      if (own < rows && warp_first + page < s.settled_count)
        out[warp_first + page] = known ? base + dot : no_score;
    }
  }
}

std::size_t shared_bytes(const cache_dims& dims, std::uint32_t query_rows) noexcept {
  const std::size_t row_bytes = std::size_t{dims.head_dim} * 4 + row_padding_bytes;
  return (pages_per_block + 2 * query_rows) * row_bytes
         + static_cast<std::size_t>(tuning.query_rows) * sizeof(float2);
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
  PIKV_CUDA_TRY(cudaFuncSetAttribute(score_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     static_cast<int>(shared)));
  PIKV_CUDA_TRY(cudaFuncSetAttribute(score_kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                     cudaSharedmemCarveoutMaxShared));
  score_kernel<<<grid, tuning.threads, shared, stream>>>(x, row_tiles);
  return check_launch("score");
}

} // namespace pikv::gpu::cuda
