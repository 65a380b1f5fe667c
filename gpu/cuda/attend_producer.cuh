// SPDX-License-Identifier: Apache-2.0
/// \file
/// The warps that walk a block's piece and copy pages into the ring, ahead of the warps that
/// compute. All of them walk all of it and agree on where each tile goes; each starts the
/// copies of every `Producers`th tile, because starting them takes longer than copying a small
/// tile.
#pragma once

#include <pikv/gpu/cuda/attend_ring.cuh>

namespace pikv::gpu::cuda {

/// One page of a batch of 32, held by one lane.
struct page_ref {
  const std::byte* data = nullptr; ///< null: nothing to read
  std::uint32_t first = 0;
  std::uint32_t tokens = 0;
  form stored = form::bf16;
  std::uint32_t settled = not_settled;
  std::uint32_t gap = 0;
};

template <int PageTokens, std::uint32_t Producers>
class attend_producer {
public:
  static constexpr std::uint32_t tile_pages = attend_tile_tokens / PageTokens;
  static constexpr std::uint32_t batch_tiles = 32 / tile_pages;
  /// Arrivals that fill a tile's slot. Every lane that filed a page arrives for itself, so that
  /// what it wrote is seen by whoever waits, also where there is nothing to copy.
#if __CUDA_ARCH__ >= 900
  static constexpr std::uint32_t arrivals = tile_pages;
#else
  static constexpr std::uint32_t arrivals = 33; ///< each lane's copies, and the warp's writes
#endif
  __device__ attend_producer(const attend_kernel_args& args, attend_shared& shared,
                             std::uint32_t ring, std::uint32_t index)
      : args_(args), shared_(shared), ring_(shared, ring, args.ring_bytes), index_(index),
        lane_(threadIdx.x % 32) {}

  __device__ void run(const attend_start& start) {
    split_ = start.split;
    unit_ = start.unit;
    unit_begin_ = start.unit_begin;
    if (blockIdx.x < split_.blocks && split_.total > 0)
      produce_piece(blockIdx.x);
    publish({});
  }

private:
  /// What a lane knows of its page once its tile is laid out.
  struct placed_page {
    page_ref page;
    std::uint32_t bytes;  ///< to copy; 0: nothing is read
    std::uint32_t offset; ///< in the tile's room
    std::uint32_t room;   ///< of the tile, in the ring
    std::uint32_t forms;  ///< of the tile
    bool read;
    bool whole; ///< of the tile
  };

  /// A piece whose first tile is in the current unit.
  __device__ void produce_piece(std::uint32_t piece) {
    std::uint32_t next = split_.begin(piece);
    const std::uint32_t end = split_.begin(piece + 1);
    while (true) {
      const attend_unit u = load_unit(args_, unit_, PageTokens);
      const std::uint32_t unit_end = unit_begin_ + u.run_tiles() * u.subs;
      while (next < end && next < unit_end) {
        const std::uint32_t sub = (next - unit_begin_) / u.run_tiles();
        const std::uint32_t run = unit_begin_ + sub * u.run_tiles() + attend_run_lead;
        const std::uint32_t last = min(end, run + u.tiles);
        next = max(next, run);
        if (next >= last) { // the piece ends within a lead
          next = end;
          break;
        }
        attend_segment s = segment_of(u, sub);
        s.piece = piece;
        s.first_piece = split_.piece_of(run);
        s.last_piece = split_.piece_of(run + u.tiles - 1);
        s.first_tile = next - run;
        s.tiles = last - next;
        produce_segment(u, s);
        next = last;
      }
      if (next == end)
        return;
      ++unit_;
      unit_begin_ = unit_end;
    }
  }

  __device__ attend_segment segment_of(const attend_unit& u, std::uint32_t sub) const {
    const std::uint32_t row = sub % u.row_tiles * args_.tile_rows;
    attend_segment s{};
    s.run_tiles = u.tiles;
    s.row_begin = u.row_begin + row;
    s.rows = min(args_.tile_rows, u.row_count - row);
    s.position = u.position + row;
    s.kv_head = u.first_head + sub / u.row_tiles;
    s.settled_count = u.settled_count;
    s.page_lse = u.page_lse + std::uint64_t{row} * args_.launch.dims.query_heads * u.settled_count;
    s.unread_from = u.settled_count;
    if (args_.launch.page_lse != nullptr && u.always == u.settled_count)
      s.unread_from = u.list_count > 0 ? u.list[u.list_count - 1] + 1 : 0;
    return s;
  }

  __device__ void produce_segment(const attend_unit& u, const attend_segment& s) {
    const std::uint32_t first = s.first_tile;
    const std::uint32_t count = s.tiles;
    // The first queries should be on their way before the memory is busy with pages.
    const bool first_of_all = published_ == 0;
    if (first_of_all)
      publish(s);
    page_ref batch = fetch(u, first, first + count);
    if (!first_of_all)
      publish(s);
    for (std::uint32_t done = 0; done < count; done += batch_tiles) {
      const page_ref next = fetch(u, first + done + batch_tiles, first + count);
      const placed_page placed = place(s, batch);
      const std::uint32_t tiles = min(batch_tiles, count - done);
      for (std::uint32_t i = 0; i < tiles; ++i)
        produce_tile(s, placed, i);
      batch = next;
    }
  }

  /// This lane's page of the tiles from `tile` on, as far as there are any before `end`.
  __device__ page_ref fetch(const attend_unit& u, std::uint32_t tile, std::uint32_t end) const {
    page_ref x;
    const std::uint32_t i = tile * tile_pages + lane_;
    if (tile + lane_ / tile_pages >= end || i >= u.pages)
      return x;
    const page_view* view;
    if (i < u.list_count) {
      x.settled = u.list[i];
      x.gap = i > 0 && args_.launch.page_lse != nullptr ? u.list[i - 1] + 1 : 0;
      view = u.settled + x.settled;
    } else if (const std::uint32_t j = i - u.list_count + u.always; j < u.settled_count) {
      x.settled = x.gap = j;
      if (j == u.always && args_.launch.page_lse != nullptr)
        x.gap = u.list_count > 0 ? u.list[u.list_count - 1] + 1 : 0;
      view = u.settled + j;
    } else {
      view = u.window + (j - u.settled_count);
    }
    x.data = view->data;
    x.first = view->first_position;
    x.tokens = min(std::uint32_t{view->tokens}, std::uint32_t{PageTokens});
    x.stored = view->stored;
    return x;
  }

  /// Sum, or bitwise or, over the lanes of one tile.
  template <class Op>
  __device__ static std::uint32_t over_tile(std::uint32_t x, Op op) {
#pragma unroll
    for (std::uint32_t step = 1; step < tile_pages; step *= 2)
      x = op(x, __shfl_xor_sync(~0U, x, step));
    return x;
  }

  /// Lays out the tiles of a batch, all at once.
  __device__ placed_page place(const attend_segment& s, const page_ref& x) const {
    const auto plus = [](std::uint32_t a, std::uint32_t b) { return a + b; };
    const auto either = [](std::uint32_t a, std::uint32_t b) { return a | b; };
    placed_page p;
    p.page = x;
    p.read = x.data != nullptr && x.tokens > 0 && x.first <= s.position + s.rows - 1;
    p.bytes = p.read ? args_.layouts[static_cast<std::uint32_t>(x.stored)].head_bytes : 0;
    p.page.data += std::size_t{s.kv_head} * p.bytes;
    const std::uint32_t room = align_shared(p.bytes); // 0 for f32, which is not supported
    const std::uint32_t place = lane_ % tile_pages;
    std::uint32_t before = room;
#pragma unroll
    for (std::uint32_t step = 1; step < tile_pages; step *= 2) {
      const std::uint32_t other = __shfl_up_sync(~0U, before, step);
      before += place >= step ? other : 0;
    }
    p.offset = before - room;
    p.room = over_tile(room, plus);
    p.forms = over_tile(p.read ? 1U << static_cast<std::uint32_t>(x.stored) : 0U, either);
    const bool partial = !p.read || x.tokens < PageTokens || x.first + PageTokens - 1 > s.position;
    p.whole = over_tile(partial ? 1U : 0U, either) == 0;
    return p;
  }

  /// Tile `i` of the batch: takes room in the ring, says what is in it and starts its copies.
  __device__ void produce_tile(const attend_segment& s, const placed_page& p, std::uint32_t i) {
    const std::uint32_t tile = ring_.tile();
    const std::uint32_t base =
        ring_.take(__shfl_sync(~0U, p.room, static_cast<int>(i * tile_pages))) + p.offset;
    if (tile % Producers != index_)
      return;
    const std::uint32_t slot = tile % attend_tune.ring_slots;
    if (lane_ / tile_pages == i) {
      attend_tile_info& info = shared_.tiles[slot];
      const std::uint32_t place = lane_ % tile_pages;
      info.base[place] = base;
      info.first[place] = p.page.first;
      info.tokens[place] = p.read ? p.page.tokens : 0;
      info.stored[place] = p.page.stored;
      info.settled[place] = p.page.settled;
      info.gap[place] = p.page.gap;
      if (place == 0) {
        info.forms = p.forms;
        info.whole = p.whole;
      }
    }
    __syncwarp();
    copy(slot, base, p, i);
  }

  __device__ void copy(std::uint32_t slot, std::uint32_t to, const placed_page& p,
                       std::uint32_t i) {
#if __CUDA_ARCH__ >= 900
    if (lane_ / tile_pages == i) {
      barrier_expect(&shared_.full[slot], p.bytes);
      if (p.bytes > 0)
        bulk_copy(to, p.page.data, p.bytes, &shared_.full[slot]);
    }
#else
    for (std::uint32_t page = i * tile_pages; page < (i + 1) * tile_pages; ++page) {
      const auto from = static_cast<int>(page);
      const std::uint32_t n = __shfl_sync(~0U, p.bytes, from);
      const std::uint32_t target = __shfl_sync(~0U, to, from);
      const auto* origin = reinterpret_cast<const std::byte*>(
          __shfl_sync(~0U, reinterpret_cast<unsigned long long>(p.page.data), from));
      for (std::uint32_t j = lane_ * 16; j < n; j += 32 * 16)
        copy_16(target + j, origin + j);
    }
    barrier_arrive_after_copies(&shared_.full[slot]);
    if (lane_ == 0)
      barrier_arrive(&shared_.full[slot]);
#endif
    __syncwarp();
  }

  __device__ void publish(const attend_segment& s) {
    if (index_ != 0) {
      ++published_;
      return;
    }
    const std::uint32_t slot = published_ % attend_tune.segments;
    const std::uint32_t round = published_ / attend_tune.segments;
    if (round > 0)
      barrier_wait(&shared_.segment_empty[slot], (round - 1) % 2);
    if (lane_ == 0) {
      shared_.segments[slot] = s;
      barrier_arrive(&shared_.segment_full[slot]);
    }
    __syncwarp();
    ++published_;
  }

  const attend_kernel_args& args_;
  attend_shared& shared_;
  attend_ring<Producers> ring_;
  std::uint32_t index_; ///< among the producers
  std::uint32_t lane_;
  attend_split split_;
  std::uint32_t unit_ = 0;
  std::uint32_t unit_begin_ = 0;
  std::uint32_t published_ = 0;
};

} // namespace pikv::gpu::cuda
