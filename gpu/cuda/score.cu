// SPDX-License-Identifier: Apache-2.0
// Both estimates are linear in two vectors per page, so both are dot products of length
// 2 * head_dim with a page's summary as it lies in memory: mass takes (q, q^2 / 2) against (mean,
// variance), quest takes (negative part, positive part of q) against (min, max).
//
// A warp takes 16 pages of one KV head at a time, while the summaries of the next ones are copied
// to shared memory, and multiplies them by four query rows on tensor cores. Summaries are f16
// already; each coefficient becomes two f16, its rounded value and the rest, which keeps 22 bits of
// it.
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
  int threads = 128;  ///< a warp takes a head: together they read summaries as they lie in memory
  int query_rows = 8; ///< that a warp takes; a multiple of four
  int stages = 2;     ///< groups of pages that a warp has room for: one in use, others on their way
  int blocks = 2;     ///< a multiprocessor; no more are launched, each walks over its pages
  int register_blocks = 4; ///< that registers must allow: room for a block of the selection
};
constexpr score_tuning tuning{};
constexpr std::uint32_t warps = tuning.threads / 32;
constexpr std::uint32_t group_pages = 16; ///< that a warp multiplies at once
constexpr std::uint32_t rows_at_once = 4; ///< query rows: two columns each of the multiplication
constexpr std::uint32_t row_padding_bytes = 16; ///< rows of 16 bytes more lie on other banks

/// What one lane knows of one page.
struct page_source {
  const std::byte* summary = nullptr; ///< the two vectors of the block's head; null: no score
  float base = no_score;              ///< added to the dot product
};

/// A page's entry in the table as loaded: what is asked of it comes later, so that the load is not
/// waited for.
struct page_entry {
  page_view page;
  bool there = false; ///< the sequence has that many pages
};

__device__ __forceinline__ page_entry look_up(const attend_sequence& s, std::uint32_t index) {
  return {*in_global(s.settled + min(index, s.settled_count - 1)), index < s.settled_count};
}

__device__ __forceinline__ page_source source_of(const score_launch& x, const page_entry& entry,
                                                 std::uint32_t head) {
  const page_view& page = entry.page;
  const std::uint8_t needed = x.kind == score_kind::mass ? summary_mean_var : summary_min_max;
  const bool known = entry.there && lane_id() < group_pages && page.data != nullptr
                     && page.summary != nullptr && (page.summary_parts & needed) != 0;
  const std::uint32_t pair = 2 * x.dims.head_dim * sizeof(__half);
  const bool both = page.summary_parts == (summary_mean_var | summary_min_max);
  page_source p;
  p.summary = known ? page.summary + std::size_t{head} * (both ? 2 * pair : pair)
                          + (both && x.kind == score_kind::quest ? pair : 0)
                    : nullptr;
  const float base = x.kind == score_kind::mass ? __logf(static_cast<float>(page.tokens)) : 0.0F;
  p.base = known ? base : no_score;
  return p;
}

__device__ __forceinline__ unsigned shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

/// Copies `units` times 16 bytes of each summary of a group to rows in shared memory; lane i has
/// the source of page i. The warp calls. `Rounds`: 32 units each. (Bulk copies would go lane by
/// lane.)
template <int Rounds>
__device__ __forceinline__ void copy_group(const page_source& mine, unsigned rows,
                                           std::uint32_t row_bytes, std::uint32_t units) {
  __syncwarp(); // every lane has read what the rows held before
#pragma unroll
  for (std::uint32_t p = 0; p < group_pages; ++p) {
    const auto from = __shfl_sync(whole_warp, reinterpret_cast<unsigned long long>(mine.summary),
                                  static_cast<int>(p));
#pragma unroll
    for (int i = 0; i < Rounds; ++i) {
      const std::uint32_t u = lane_id() + i * warp_lanes;
      const int wanted = from != 0 && u < units ? 1 : 0;
      asm volatile(
          "{ .reg .pred p; setp.ne.s32 p, %2, 0;\n"
          "  @p cp.async.cg.shared.global [%0], [%1], 16; }" ::"r"(rows + p * row_bytes + u * 16),
          "l"(from + u * 16), "r"(wanted)
          : "memory");
    }
  }
  asm volatile("cp.async.commit_group;" ::: "memory");
}

/// Waits for the oldest group that is on its way.
__device__ __forceinline__ void await_group() {
  asm volatile("cp.async.wait_group %0;" ::"n"(tuning.stages - 1) : "memory");
  __syncwarp();
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
  const std::uint64_t begin =
      (s.row_begin + row / group) * x.q.row_stride + (head * group + row % group) * x.q.head_stride;
  with_dtype(x.q.type, [&](auto tag) {
    const auto* p = reinterpret_cast<const decltype(tag)*>(x.q.data) + begin;
#pragma unroll
    for (int i = 0; i < row_values; ++i) {
      const std::uint32_t c = lane_id() % row_lanes + i * row_lanes;
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
    const std::uint32_t c = lane_id() % row_lanes + i * row_lanes;
    if (c >= dim)
      continue;
    const float y = q[i] * factor;
    out.put(row_bytes, r, c, mass ? y : fminf(y, 0.0F));
    out.put(row_bytes, r, dim + c, mass ? y * y * 0x1p-11F : fmaxf(y, 0.0F));
  }
  if (lane_id() % row_lanes == 0)
    out.factors[r] = {power(-exponent), mass ? power(10 - 2 * exponent) : power(-exponent)};
}

/// Products of one half of the vectors of 16 pages with four query rows. `pages` and `rows` are
/// this lane's addresses of the first matrices.
__device__ __forceinline__ float4 multiply_half(unsigned pages, unsigned rows,
                                                std::uint32_t steps) {
  float4 even{}, odd{}; // two chains of sums: their latencies overlap
#pragma unroll 4
  for (std::uint32_t k = 0; k < steps; k += 2) { // head_dim is a multiple of 32
    const uint4 b = load_matrices(rows + k * 32);
    multiply_add(even, load_matrices(pages + k * 32), b.x, b.y);
    multiply_add(odd, load_matrices(pages + k * 32 + 32), b.z, b.w);
  }
  return {even.x + odd.x, even.y + odd.y, even.z + odd.z, even.w + odd.w};
}

constexpr std::uint32_t factor_bytes = tuning.query_rows * sizeof(float2);
constexpr int most_passes = tuning.query_rows / static_cast<int>(rows_at_once);

/// What a warp keeps of the block's query rows.
struct row_outputs {
  float*
      scores[most_passes]; ///< of page 0, for the row whose sums this lane holds in a pass; or null
};

/// Scores of 16 pages for the block's query rows, from shared memory.
__device__ __forceinline__ void score_group(const page_source& mine, std::uint32_t first_page,
                                            std::uint32_t end_page, std::uint32_t dim,
                                            std::uint32_t passes, unsigned pages,
                                            std::uint32_t row_bytes, const coefficients& q,
                                            const row_outputs& out) {
  const std::uint32_t i = lane_id() % 8, m = lane_id() / 8; // row and matrix whose address we give
  const unsigned a = pages + (i + m % 2 * 8) * row_bytes + m / 2 * 16;
  const int page = static_cast<int>(lane_id() / 4); // the sums we hold: of this page and 8 later
  const std::uint32_t lower = first_page + static_cast<std::uint32_t>(page);
  // A page without a score has base -inf, whatever its row in shared memory holds.
  const float lower_base = __shfl_sync(whole_warp, mine.base, page);
  const float upper_base = __shfl_sync(whole_warp, mine.base, page + 8);
#pragma unroll
  for (std::uint32_t r = 0; r < most_passes; ++r) {
    if (r >= passes)
      break;
    const unsigned b = shared_address(q.rows) + (2 * rows_at_once * r + i) * row_bytes + m * 16;
    const float4 u = multiply_half(a, b, dim / 16);
    const float4 v = multiply_half(a + dim * 2, b + dim * 2, dim / 16);
    const float2 f = q.factors[r * rows_at_once + lane_id() % 4];
    if (out.scores[r] == nullptr)
      continue;
    if (lower < end_page)
      out.scores[r][lower] =
          lower_base == no_score ? no_score : lower_base + (u.x + u.y) * f.x + (v.x + v.y) * f.y;
    if (lower + 8 < end_page)
      out.scores[r][lower + 8] =
          upper_base == no_score ? no_score : upper_base + (u.z + u.w) * f.x + (v.z + v.w) * f.y;
  }
}

template <int Rounds>
__global__ void __launch_bounds__(tuning.threads, tuning.register_blocks)
    score_kernel(const __grid_constant__ score_launch x, std::uint32_t row_tiles,
                 std::uint32_t warp_bytes) {
  let_next_kernel_start();
  extern __shared__ __align__(16) std::byte shared[];
  constexpr std::uint32_t stages = tuning.stages;
  const attend_sequence s = x.sequences[blockIdx.z / row_tiles];
  const std::uint32_t head = blockIdx.y * warps + warp_id(), group = x.dims.group();
  const std::uint32_t first_row = blockIdx.z % row_tiles * tuning.query_rows; // of row_count * group
  const std::uint32_t step = gridDim.x * group_pages;
  const std::uint32_t begin = blockIdx.x * group_pages;
  if (first_row >= s.row_count * group || begin >= s.settled_count || head >= x.dims.kv_heads)
    return; // warps do not wait for each other
  const std::uint32_t rows =
      min(s.row_count * group - first_row, static_cast<std::uint32_t>(tuning.query_rows));
  const std::uint32_t units = x.dims.head_dim / 4; // of 16 bytes, of a page
  const std::uint32_t row_bytes = units * 16 + row_padding_bytes;
  const std::uint32_t stage_bytes = group_pages * row_bytes;
  std::byte* const mine = shared + warp_id() * warp_bytes;
  coefficients q;
  q.factors = reinterpret_cast<float2*>(mine);
  q.rows = mine + factor_bytes;
  const unsigned ring = shared_address(mine + warp_bytes) - stages * stage_bytes;

  // The first rows' queries are on their way while the page table is read.
  constexpr std::uint32_t rows_a_turn = warp_lanes / row_lanes;
  const std::uint32_t own_row = lane_id() / row_lanes;
  float values[2][row_values] = {};
#pragma unroll
  for (std::uint32_t t = 0; t < 2; ++t)
    if (t * rows_a_turn + own_row < rows)
      load_query(x, s, head, first_row + t * rows_a_turn + own_row, values[t]);

  // Sources of the groups on their way, by stage; `ahead` is of the one after them.
  const auto look = [&](std::uint32_t first) { return look_up(s, first + lane_id() % group_pages); };
  page_entry entries[stages];
#pragma unroll
  for (std::uint32_t i = 0; i < stages; ++i)
    entries[i] = look(begin + i * step);
  page_entry ahead = look(begin + stages * step);
  page_source sources[stages];
#pragma unroll
  for (std::uint32_t i = 0; i < stages; ++i)
    sources[i] = source_of(x, entries[i], head);
#pragma unroll
  for (std::uint32_t i = 0; i + 1 < stages; ++i)
    copy_group<Rounds>(sources[i], ring + i * stage_bytes, row_bytes, units);
  for (std::uint32_t first = 0; first < rows; first += rows_at_once) // beyond the rows: zeros
#pragma unroll
    for (std::uint32_t t = 0; t < 2; ++t) {
      const std::uint32_t r = first + t * rows_a_turn + own_row;
      if (first > 0) {
#pragma unroll
        for (float& v : values[t])
          v = 0;
        if (r < rows)
          load_query(x, s, head, first_row + r, values[t]);
      }
      put_coefficients(x, r, values[t], row_bytes, q);
    }
  row_outputs out;
#pragma unroll
  for (std::uint32_t r = 0; r < most_passes; ++r) {
    const std::uint32_t own = r * rows_at_once + lane_id() % 4, row = first_row + own;
    out.scores[r] = own < rows ? in_global(x.out + s.page_lse_offset
                                           + (row / group * std::size_t{x.dims.query_heads}
                                              + head * group + row % group)
                                                 * s.settled_count)
                               : nullptr;
  }
  const std::uint32_t passes = (rows + rows_at_once - 1) / rows_at_once;
  static_assert(rows_at_once == 2 * rows_a_turn);
  __syncwarp();

  for (std::uint32_t first = begin; first < s.settled_count; first += stages * step)
#pragma unroll
    for (std::uint32_t i = 0; i < stages; ++i) {
      const std::uint32_t page = first + i * step;
      if (page >= s.settled_count)
        break;
      constexpr std::uint32_t last = stages - 1;
      copy_group<Rounds>(sources[(i + last) % stages], ring + (i + last) % stages * stage_bytes,
                         row_bytes, units);
      await_group();
      const page_source current = sources[i];
      sources[i] = source_of(x, ahead, head);
      ahead = look(page + (stages + 1) * step);
      score_group(current, page, s.settled_count, x.dims.head_dim, passes, ring + i * stage_bytes,
                  row_bytes, q, out);
    }
  asm volatile("cp.async.wait_all;" ::: "memory");
}

/// Shared memory of one warp: factors, coefficients, then the ring of pages.
std::uint32_t warp_bytes_of(const cache_dims& dims, std::uint32_t query_rows) noexcept {
  const std::uint32_t row_bytes = dims.head_dim * 4 + row_padding_bytes;
  const std::uint32_t padded = (query_rows + rows_at_once - 1) / rows_at_once * rows_at_once;
  return factor_bytes + (2 * padded + tuning.stages * group_pages) * row_bytes;
}

/// Blocks along the pages of a sequence and head: all blocks are resident at once, or one each.
result<unsigned> stripes_of(const score_launch& x, std::uint32_t others) {
  int device = 0, processors = 0;
  PIKV_CUDA_TRY(cudaGetDevice(&device));
  PIKV_CUDA_TRY(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device));
  const auto room = static_cast<std::uint32_t>(processors * tuning.blocks);
  const std::uint32_t most = (x.bounds.pages + group_pages - 1) / group_pages;
  return std::clamp(room / others, 1U, most);
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
  const std::uint32_t head_groups = (x.dims.kv_heads + warps - 1) / warps;
  const auto stripes = stripes_of(x, head_groups * x.bounds.sequences * row_tiles);
  if (!stripes)
    return stripes.error();
  const dim3 grid(*stripes, head_groups, x.bounds.sequences * row_tiles);
  const std::uint32_t warp_bytes = warp_bytes_of(
      x.dims, std::min<std::uint32_t>(x.bounds.rows * x.dims.group(), tuning.query_rows));
  const std::size_t shared = std::size_t{warps} * warp_bytes;
  auto* const kernel = x.dims.head_dim <= 128 ? score_kernel<1> : score_kernel<2>;
  PIKV_CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     static_cast<int>(shared)));
  PIKV_CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                     cudaSharedmemCarveoutMaxShared));
  kernel<<<grid, tuning.threads, shared, stream>>>(x, row_tiles, warp_bytes);
  return check_launch("score");
}

} // namespace pikv::gpu::cuda
