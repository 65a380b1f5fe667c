// SPDX-License-Identifier: Apache-2.0
/// \file
/// The per-page output of attention: the log of each page's sum of exp(logit), or -inf.
#pragma once

#include <pikv/gpu/cuda/attend_shared.cuh>

namespace pikv::gpu::cuda {

inline constexpr float ln_2 = 0.693147180559945309F;

/// Where the entries of a column's pages begin.
__device__ __forceinline__ float* page_lse_of(const attend_kernel_args& a, const attend_segment& s,
                                              std::uint32_t column) {
  const std::uint64_t head = s.kv_head * a.group + column % a.group;
  return a.launch.page_lse + s.page_lse
         + (std::uint64_t{column / a.group} * a.launch.dims.query_heads + head) * s.settled_count;
}

/// One warp: -inf for the settled pages from `begin` to `end`.
__device__ inline void clear_page_lse(const attend_kernel_args& a, const attend_segment& s,
                                      std::uint32_t begin, std::uint32_t end) {
  const std::uint32_t columns = s.rows * a.group;
  for (std::uint32_t column = 0; column < columns; ++column) {
    float* out = page_lse_of(a, s, column);
    for (std::uint32_t i = begin + threadIdx.x % 32; i < end; i += 32)
      out[i] = -INFINITY;
  }
}

/// One warp: -inf for the tile's pages of which nothing is read, and for those its list leaves out.
__device__ inline void clear_unread_pages(const attend_kernel_args& a, const attend_segment& s,
                                          const attend_tile_info& info, std::uint32_t pages) {
  for (std::uint32_t p = 0; p < pages; ++p)
    if (info.settled[p] != not_settled)
      clear_page_lse(a, s, info.gap[p], info.settled[p] + (info.tokens[p] == 0 ? 1 : 0));
}

/// Writes the entry of the page that holds the lane's chunk; `scores` are its logits (log 2) plus
/// `shift`. `PageChunks` neighbouring lane groups share a page; `write` is the same in them.
template <std::uint32_t PageChunks, int ColumnTiles>
__device__ void write_page_lse(const attend_kernel_args& a, const attend_segment& segment,
                               const attend_tile_info& info, std::uint32_t page, bool write,
                               float shift, const float (&scores)[ColumnTiles][4][4]) {
#pragma unroll
  for (int n = 0; n < ColumnTiles; ++n)
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      float top = -INFINITY;
#pragma unroll
      for (int i = 0; i < 8; ++i)
        top = fmaxf(top, scores[n][i / 2][i % 2 * 2 + c]);
#pragma unroll
      for (std::uint32_t step = 1; step < PageChunks; step *= 2)
        top = fmaxf(top, __shfl_xor_sync(~0U, top, 4 * step));
      float sum = 0;
#pragma unroll
      for (int i = 0; i < 8; ++i)
        sum += top == -INFINITY ? 0 : exp2_fast(scores[n][i / 2][i % 2 * 2 + c] - top);
#pragma unroll
      for (std::uint32_t step = 1; step < PageChunks; step *= 2)
        sum += __shfl_xor_sync(~0U, sum, 4 * step);
      const std::uint32_t column = 8 * n + threadIdx.x % 4 * 2 + c;
      const bool first = threadIdx.x % 32 / 4 % PageChunks == 0;
      if (write && first && info.settled[page] != not_settled && column < segment.rows * a.group)
        page_lse_of(a, segment, column)[info.settled[page]] =
            top == -INFINITY ? top : (top + log2f(sum) - shift) * ln_2;
    }
}

} // namespace pikv::gpu::cuda
