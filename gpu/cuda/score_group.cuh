// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a warp does with 16 pages when it scores them.
#pragma once

#include <pikv/gpu/cuda/codec_numeric.cuh>
#include <pikv/gpu/cuda/numeric.cuh>
#include <pikv/gpu/cuda/score.hpp>
#include <pikv/gpu/cuda/select_shares.cuh>

namespace pikv::gpu::cuda::score_detail {

/// Chosen on an H200 with 8 sequences of 2,048 pages, 32 query heads, 8 KV heads of 128: 22.6 us
/// (two warps of one head a block: 25.6; all pages of a warp at once: 26.0; bulk copies: 28.7).
struct score_tuning {
  int threads = 128;  ///< a warp takes a head: together they read summaries as they lie in memory
  int query_rows = 8; ///< that a warp takes; a multiple of four
  int stages = 2;     ///< groups of pages that a warp has room for: one in use, others on their way
  int blocks = 2;     ///< a multiprocessor; no more are launched, each walks over its pages
  int register_blocks = 4; ///< that registers must allow: room for a block of the selection
};
inline constexpr score_tuning tuning{};
inline constexpr std::uint32_t warps = tuning.threads / 32;
inline constexpr std::uint32_t group_pages = 16; ///< that a warp multiplies at once
inline constexpr std::uint32_t rows_at_once =
    4; ///< query rows: two columns each of the multiplication
inline constexpr std::uint32_t row_padding_bytes = 16; ///< rows of 16 bytes more lie on other banks

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

inline constexpr std::uint32_t row_lanes = 16; ///< lanes that prepare one query row
inline constexpr int row_values = 16;          ///< of a row, at most, each of them

/// Reads what this lane prepares of query row `row`: channels lane, lane + 16, ...
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

inline constexpr std::uint32_t factor_bytes = tuning.query_rows * sizeof(float2);
inline constexpr int most_passes = tuning.query_rows / static_cast<int>(rows_at_once);

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

} // namespace pikv::gpu::cuda::score_detail
