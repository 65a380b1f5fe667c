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
#include <pikv/gpu/cuda/launch_chained.hpp>
#include <pikv/gpu/cuda/score_group.cuh>
#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {
namespace {

using namespace score_detail;

struct score_shape {
  score_launch x;
  std::uint32_t row_tiles;  ///< of a sequence
  std::uint32_t warp_bytes; ///< of shared memory
};

template <int Rounds>
__global__ void __launch_bounds__(tuning.threads, tuning.register_blocks)
    score_kernel(const __grid_constant__ score_shape shape) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const score_launch& x = shape.x;
  const std::uint32_t row_tiles = shape.row_tiles, warp_bytes = shape.warp_bytes;
  extern __shared__ __align__(16) std::byte shared[];
  constexpr std::uint32_t stages = tuning.stages;
  const attend_sequence s = x.sequences[blockIdx.z / row_tiles];
  const std::uint32_t head = blockIdx.y * warps + warp_id(), group = x.dims.group();
  const std::uint32_t first_row =
      blockIdx.z % row_tiles * tuning.query_rows; // of row_count * group
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
  const auto look = [&](std::uint32_t first) {
    return look_up(s, first + lane_id() % group_pages);
  };
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
    return pikv::error{errc::invalid_argument,
                       "score: more than half a million query rows a KV head"};
  const std::uint32_t head_groups = (x.dims.kv_heads + warps - 1) / warps;
  const auto stripes = stripes_of(x, head_groups * x.bounds.sequences * row_tiles);
  if (!stripes)
    return stripes.error();
  const dim3 grid(*stripes, head_groups, x.bounds.sequences * row_tiles);
  const std::uint32_t warp_bytes = warp_bytes_of(
      x.dims, std::min<std::uint32_t>(x.bounds.rows * x.dims.group(), tuning.query_rows));
  return launch_chained(x.dims.head_dim <= 128 ? score_kernel<1> : score_kernel<2>,
                        "launch of score", grid, tuning.threads, std::size_t{warps} * warp_bytes,
                        score_shape{x, row_tiles, warp_bytes}, stream);
}

} // namespace pikv::gpu::cuda
