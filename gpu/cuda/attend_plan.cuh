// SPDX-License-Identifier: Apache-2.0
/// \file
/// What each block of an attention launch reads.
///
/// A unit is what shares one page list: a sequence, or with a selection a (row, scope). It counts
/// once for every sub-unit (KV head, tile of rows), and each of those is a run of tiles of 64
/// tokens. All runs laid end to end are cut into pieces, one for each block; the part of a run
/// inside a piece is a segment. A segment costs time of its own, so that each run is laid out with
/// `attend_run_lead` tiles before it that nobody reads: a block that begins a run has less to read.
#pragma once

#include <pikv/gpu/cuda/attend.hpp>
#include <pikv/gpu/cuda/attend_tuning.cuh>

namespace pikv::gpu::cuda {

struct attend_form_layout {
  std::uint32_t v_offset;
  std::uint32_t k_scale_offset;
  std::uint32_t v_scale_offset;
  std::uint32_t head_bytes;
};

struct attend_kernel_args {
  attend_launch launch;
  float scale_log2;        ///< scale * log2(e)
  std::uint32_t group;     ///< query heads of a KV head
  std::uint32_t tile_rows; ///< rows of a tile of rows
  std::uint32_t columns;   ///< tile_rows * group
  std::uint32_t ring_bytes;
  attend_form_layout layouts[form_count];
  std::uint32_t* counters; ///< `[pieces]`: arrivals at the run that begins in a piece; rest at 0
  float* partial_out;      ///< `[pieces, 2, columns, head_dim]`, not yet divided by its sum
  float* partial_stats;    ///< `[pieces, 2, columns, 2]`: reference (log2), sum of weights
};

/// One unit, and how its page list is found.
struct attend_unit {
  const page_view* settled;
  const page_view* window;
  const std::uint32_t* list;
  std::uint32_t list_count; ///< entries below `always`
  std::uint32_t always;
  std::uint32_t settled_count;
  std::uint32_t pages; ///< list, settled pages from `always` on, window
  std::uint32_t tiles; ///< of one sub-unit, at least 1
  std::uint32_t subs;
  std::uint32_t row_tiles;
  std::uint32_t row_begin;
  std::uint32_t row_count;
  std::uint32_t position; ///< of the first row
  std::uint32_t first_head;
  std::uint64_t page_lse; ///< offset of the first row's block

  /// Of one sub-unit with its lead.
  __device__ std::uint32_t run_tiles() const { return attend_run_lead + tiles; }
};

__device__ __forceinline__ std::uint32_t unit_count(const attend_kernel_args& a) {
  const attend_launch& x = a.launch;
  return x.selected ? x.selection.owned_count * x.selection.scopes : x.sequence_count;
}

/// Entries of an ascending list that are below `limit`; lists are expected to end below it.
__device__ inline std::uint32_t entries_below(const std::uint32_t* list, std::uint32_t count,
                                              std::uint32_t limit) {
  if (count == 0 || list[count - 1] < limit)
    return count;
  std::uint32_t low = 0;
  while (low < count) {
    const std::uint32_t middle = (low + count) / 2;
    if (list[middle] < limit)
      low = middle + 1;
    else
      count = middle;
  }
  return low;
}

__device__ inline attend_unit load_unit(const attend_kernel_args& a, std::uint32_t index,
                                        std::uint32_t page_tokens) {
  const attend_launch& x = a.launch;
  const attend_selection& sel = x.selection;
  const attend_row owned = x.selected ? sel.owned[index / sel.scopes] : attend_row{0, index};
  const std::uint32_t row = owned.row;
  const attend_sequence& s = x.sequences[owned.sequence];
  attend_unit u{};
  u.settled = s.settled;
  u.window = s.window;
  u.settled_count = s.settled_count;
  u.position = s.first_position;
  u.page_lse = s.page_lse_offset;
  if (x.selected) {
    const std::uint32_t list = row * sel.scopes + index % sel.scopes;
    const std::uint32_t begin = sel.offsets[list];
    u.list = sel.pages + begin;
    u.always = min(sel.always_from[row], s.settled_count);
    u.list_count = entries_below(u.list, sel.offsets[list + 1] - begin, u.always);
    u.row_begin = row;
    u.row_count = 1;
    u.position += row - s.row_begin;
    u.page_lse += std::uint64_t{row - s.row_begin} * x.dims.query_heads * s.settled_count;
    u.first_head = sel.scopes == 1 ? 0 : index % sel.scopes;
    u.subs = x.dims.kv_heads / sel.scopes;
    u.row_tiles = 1;
  } else {
    u.row_begin = s.row_begin;
    u.row_count = s.row_count;
    u.row_tiles = (s.row_count + a.tile_rows - 1) / a.tile_rows;
    u.subs = x.dims.kv_heads * u.row_tiles;
  }
  u.pages = u.list_count + u.settled_count - u.always + s.window_count;
  const std::uint32_t tile_pages = attend_tile_tokens / page_tokens;
  u.tiles = max(1U, (u.pages + tile_pages - 1) / tile_pages);
  return u;
}

/// How the tiles of a launch, leads included, are cut into pieces, one for each block: total /
/// blocks tiles, the first total % blocks pieces one more.
struct attend_split {
  std::uint32_t total;
  std::uint32_t blocks; ///< that have something to read
  std::uint32_t each, more;

  attend_split() = default;
  __device__ explicit attend_split(std::uint32_t tiles)
      : total(tiles), blocks(max(1U, min(tiles, gridDim.x))), each(tiles / blocks),
        more(tiles % blocks) {}

  /// First tile of a piece; of the piece behind the last: `total`.
  __device__ std::uint32_t begin(std::uint32_t piece) const {
    return piece * each + min(piece, more);
  }
  __device__ std::uint32_t piece_of(std::uint32_t tile) const {
    const std::uint32_t cut = more * (each + 1);
    return tile < cut ? tile / (each + 1) : more + (tile - cut) / each;
  }
};

/// Where a block begins.
struct attend_start {
  attend_split split;
  std::uint32_t unit;       ///< that holds the block's first tile
  std::uint32_t unit_begin; ///< first tile of `unit`
};

__device__ __forceinline__ std::uint32_t unit_work(const attend_kernel_args& a,
                                                   std::uint32_t page_tokens, std::uint32_t i) {
  if (i >= unit_count(a))
    return 0;
  const attend_unit u = load_unit(a, i, page_tokens);
  return u.run_tiles() * u.subs;
}

/// Sum of `x` over this lane and those before it.
__device__ __forceinline__ std::uint32_t warp_scan(std::uint32_t x) {
  for (std::uint32_t step = 1; step < 32; step *= 2) {
    const std::uint32_t other = __shfl_up_sync(~0U, x, step);
    x += threadIdx.x % 32 >= step ? other : 0;
  }
  return x;
}

/// Where the calling block begins, found by one warp. At most 32 units.
__device__ inline attend_start find_start_of_few(const attend_kernel_args& a,
                                                 std::uint32_t page_tokens) {
  const std::uint32_t mine = unit_work(a, page_tokens, threadIdx.x % 32);
  const std::uint32_t end = warp_scan(mine);
  attend_start x;
  x.split = attend_split(__shfl_sync(~0U, end, 31));
  const std::uint32_t tile = x.split.begin(blockIdx.x);
  const std::uint32_t holds = __ballot_sync(~0U, tile >= end - mine && tile < end);
  x.unit = holds == 0 ? 0 : __ffs(static_cast<int>(holds)) - 1;
  x.unit_begin = __shfl_sync(~0U, end - mine, static_cast<int>(x.unit));
  return x;
}

/// Sum over the block of `x`, and of the threads before this one. `scratch`: one for each warp.
__device__ inline std::uint32_t block_scan(std::uint32_t x, std::uint32_t* scratch,
                                           std::uint32_t& before) {
  const std::uint32_t warp = threadIdx.x / 32;
  const std::uint32_t sum = warp_scan(x);
  __syncthreads();
  if (threadIdx.x % 32 == 31)
    scratch[warp] = sum;
  __syncthreads();
  std::uint32_t total = 0;
  before = sum - x;
  for (std::uint32_t w = 0; w < blockDim.x / 32; ++w) {
    before += w < warp ? scratch[w] : 0;
    total += scratch[w];
  }
  return total;
}

/// Where the calling block begins, found by all its threads; `found` is shared memory.
__device__ inline void find_start(const attend_kernel_args& a, std::uint32_t page_tokens,
                                  std::uint32_t* scratch, attend_start& found) {
  const std::uint32_t units = unit_count(a);
  std::uint32_t sum = 0;
  for (std::uint32_t i = threadIdx.x; i < units; i += blockDim.x)
    sum += unit_work(a, page_tokens, i);
  std::uint32_t before = 0;
  const attend_split split(block_scan(sum, scratch, before));
  const std::uint32_t tile = split.begin(blockIdx.x);
  if (threadIdx.x == 0)
    found.split = split;
  std::uint32_t done = 0;
  for (std::uint32_t base = 0; base < units && done <= tile; base += blockDim.x) {
    const std::uint32_t mine = unit_work(a, page_tokens, base + threadIdx.x);
    const std::uint32_t chunk = block_scan(mine, scratch, before);
    if (tile >= done + before && tile < done + before + mine) {
      found.unit = base + threadIdx.x;
      found.unit_begin = done + before;
    }
    done += chunk;
  }
}

} // namespace pikv::gpu::cuda
