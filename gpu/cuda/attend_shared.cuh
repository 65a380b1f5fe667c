// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a block of the attention kernel keeps in shared memory.
#pragma once

#include <pikv/gpu/cuda/attend_plan.cuh>
#include <pikv/gpu/cuda/attend_ptx.cuh>

namespace pikv::gpu::cuda {

/// One tile in the ring: 64 token slots of up to 8 pages, one KV head.
struct attend_tile_info {
  std::uint32_t base[attend_max_tile_pages];   ///< shared address of the head's part
  std::uint32_t first[attend_max_tile_pages];  ///< position of slot 0
  std::uint32_t tokens[attend_max_tile_pages]; ///< filled slots; 0: nothing is read
  form stored[attend_max_tile_pages];
  std::uint32_t forms; ///< bit set of the forms of the pages that are read
  bool whole;          ///< every row reads every slot
  // For page_lse: the settled page's index or none, and the first index of the unread ones before.
  std::uint32_t settled[attend_max_tile_pages];
  std::uint32_t gap[attend_max_tile_pages];
};
inline constexpr std::uint32_t not_settled = ~0U;

/// The part of one run (unit, KV head, tile of rows) that this block reads.
struct attend_segment {
  std::uint64_t page_lse;                ///< offset of (first row, query head 0)
  std::uint32_t piece;                   ///< that it lies in: the block's index
  std::uint32_t first_piece, last_piece; ///< of the run
  std::uint32_t run_tiles;
  std::uint32_t first_tile; ///< within the run
  std::uint32_t tiles;      ///< 0: no more segments
  std::uint32_t row_begin;  ///< in the batch
  std::uint32_t rows;
  std::uint32_t position; ///< of the first row
  std::uint32_t kv_head;
  std::uint32_t settled_count;
  std::uint32_t unread_from; ///< settled pages from here on are not read by anyone (page_lse)
};

struct attend_shared {
  std::uint64_t full[attend_tune.ring_slots];
  std::uint64_t empty[attend_tune.ring_slots];
  std::uint64_t segment_full[attend_tune.segments];
  std::uint64_t segment_empty[attend_tune.segments];
  attend_start start;
  std::uint32_t scratch[attend_max_warps];
  attend_segment segments[attend_tune.segments];
  attend_tile_info tiles[attend_tune.ring_slots];
  float2 stats[attend_max_warps][attend_max_columns]; ///< of each warp: reference, sum of weights
  float2 totals[attend_max_columns];                  ///< of all that is merged
  attend_segment pending; ///< the last one of a run that other blocks have parts of as well
  bool merges;            ///< this block merges them
};

/// Query operands of a segment in shared memory, 16-bit `[class, column tile, step, lane, 4]`: the
/// four channels that a lane has in a step of 16, for each way in which forms need them.
enum class query_class : std::uint32_t { bf16, f16, f16_quantised };
inline constexpr std::uint32_t query_classes = 3;

/// The first warps of a block compute, the others fetch.
template <int ColumnTiles>
inline constexpr std::uint32_t consumer_warps =
    ColumnTiles == 1 ? attend_tune.narrow_consumers : attend_tune.wide_consumers;
template <int ColumnTiles>
inline constexpr std::uint32_t producer_warps =
    ColumnTiles == 1 ? attend_tune.narrow_producers : attend_tune.wide_producers;
/// Pages begin at multiples of this: bulk copies to less aligned places are 4 to 8% slower, which
/// weighs more than the bank conflicts that a skew would avoid.
inline constexpr std::uint32_t shared_alignment = 128;

__host__ __device__ constexpr std::uint32_t align_shared(std::uint32_t bytes) {
  return (bytes + shared_alignment - 1) / shared_alignment * shared_alignment;
}

/// The block's shared memory: attend_shared, query operands, f32 `[warps, columns, head_dim]`, the
/// ring.
__host__ __device__ constexpr std::uint32_t query_offset() {
  return align_shared(sizeof(attend_shared));
}
__host__ __device__ constexpr std::uint32_t merge_offset(std::uint32_t column_tiles,
                                                         std::uint32_t head_dim) {
  return query_offset() + query_classes * column_tiles * 8 * head_dim * 2;
}
__host__ __device__ constexpr std::uint32_t ring_offset(std::uint32_t column_tiles,
                                                        std::uint32_t warps, std::uint32_t columns,
                                                        std::uint32_t head_dim) {
  return merge_offset(column_tiles, head_dim)
         + align_shared(warps * columns * head_dim * sizeof(float));
}

} // namespace pikv::gpu::cuda
