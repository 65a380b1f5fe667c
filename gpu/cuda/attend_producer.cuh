// SPDX-License-Identifier: Apache-2.0
/// \file
/// The warp that walks a block's range and copies pages into the ring, ahead of the warps that
/// compute.
#pragma once

#include <pikv/gpu/cuda/attend_shared.cuh>

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

template <int PageTokens>
class attend_producer {
public:
  static constexpr std::uint32_t tile_pages = attend_tile_tokens / PageTokens;
  static constexpr std::uint32_t batch_tiles = 32 / tile_pages;

  __device__ attend_producer(const attend_kernel_args& args, attend_shared& shared,
                             std::uint32_t ring)
      : args_(args), shared_(shared), ring_(ring), lane_(threadIdx.x % 32) {}

  __device__ void run() {
    std::uint64_t next = shared_.range.begin;
    const std::uint64_t end = shared_.range.end;
    std::uint64_t unit_begin = shared_.range.unit_begin;
    for (std::uint32_t i = shared_.range.unit; next < end; ++i) {
      const attend_unit u = load_unit(args_, i, PageTokens);
      const std::uint64_t unit_end = unit_begin + std::uint64_t{u.tiles} * u.subs;
      while (next < end && next < unit_end) {
        const auto sub = static_cast<std::uint32_t>((next - unit_begin) / u.tiles);
        const std::uint64_t run = unit_begin + std::uint64_t{sub} * u.tiles;
        const auto first = static_cast<std::uint32_t>(next - run);
        const auto count =
            static_cast<std::uint32_t>(min(end - next, std::uint64_t{u.tiles - first}));
        produce_segment(u, sub, run, first, count);
        next += count;
      }
      unit_begin = unit_end;
    }
    publish({});
  }

private:
  __device__ void produce_segment(const attend_unit& u, std::uint32_t sub, std::uint64_t run,
                                  std::uint32_t first, std::uint32_t count) {
    const std::uint32_t row = sub % u.row_tiles * args_.tile_rows;
    attend_segment s{};
    s.run_begin = run;
    s.run_tiles = u.tiles;
    s.first_tile = first;
    s.tiles = count;
    s.row_begin = u.row_begin + row;
    s.rows = min(args_.tile_rows, u.row_count - row);
    s.position = u.position + row;
    s.kv_head = u.first_head + sub / u.row_tiles;
    s.settled_count = u.settled_count;
    s.page_lse =
        u.page_lse + std::uint64_t{row} * args_.launch.dims.query_heads * u.settled_count;
    page_ref batch = fetch(u, first, first + count);
    s.unread_from = u.settled_count;
    if (args_.launch.page_lse != nullptr && u.always == u.settled_count)
      s.unread_from = u.list_count > 0 ? u.list[u.list_count - 1] + 1 : 0;
    publish(s);
    for (std::uint32_t done = 0; done < count; done += batch_tiles) {
      const page_ref next = fetch(u, first + done + batch_tiles, first + count);
      const std::uint32_t tiles = min(batch_tiles, count - done);
      for (std::uint32_t i = 0; i < tiles; ++i)
        produce_tile(s, batch, i);
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

  /// Tile `i` of the batch: takes room in the ring, says what is in it and starts its copies.
  __device__ void produce_tile(const attend_segment& s, const page_ref& batch, std::uint32_t i) {
    const auto source = static_cast<int>(i * tile_pages + lane_ % tile_pages);
    page_ref x;
    x.data = reinterpret_cast<const std::byte*>(
        __shfl_sync(~0U, reinterpret_cast<unsigned long long>(batch.data), source));
    x.first = __shfl_sync(~0U, batch.first, source);
    x.tokens = __shfl_sync(~0U, batch.tokens, source);
    x.stored = static_cast<form>(__shfl_sync(~0U, static_cast<std::uint32_t>(batch.stored), source));
    const bool mine = lane_ < tile_pages;
    const bool read =
        mine && x.data != nullptr && x.tokens > 0 && x.first <= s.position + s.rows - 1;
    const std::uint32_t bytes = // 0 for f32, which is not supported
        read ? args_.layouts[static_cast<std::uint32_t>(x.stored)].head_bytes : 0;
    const std::uint32_t room = bytes > 0 ? ring_page_bytes(bytes) : 0;
    std::uint32_t before = room;
    for (std::uint32_t step = 1; step < tile_pages; step *= 2) {
      const std::uint32_t other = __shfl_up_sync(~0U, before, step);
      before += lane_ >= step ? other : 0;
    }
    const std::uint32_t total = __shfl_sync(~0U, before, tile_pages - 1);
    const std::uint32_t base = reserve(total) + before - room + skew();
    const std::uint32_t slot = produced_ % attend_tune.ring_slots;
    attend_tile_info& info = shared_.tiles[slot];
    const bool whole =
        __all_sync(~0U, !mine
                            || (read && x.tokens == PageTokens
                                && x.first + PageTokens - 1 <= s.position));
    const std::uint32_t forms =
        __reduce_or_sync(~0U, read ? 1U << static_cast<std::uint32_t>(x.stored) : 0U);
    const std::uint32_t settled = __shfl_sync(~0U, batch.settled, source);
    const std::uint32_t gap = __shfl_sync(~0U, batch.gap, source);
    if (mine) {
      info.base[lane_] = base;
      info.first[lane_] = x.first;
      info.tokens[lane_] = read ? x.tokens : 0;
      info.stored[lane_] = x.stored;
      info.settled[lane_] = settled;
      info.gap[lane_] = gap;
    }
    if (lane_ == 0) {
      info.forms = forms;
      info.whole = whole;
    }
    copy(slot, base, x.data + std::size_t{s.kv_head} * bytes, bytes);
    ++produced_;
  }

  /// Where this lane's page begins within its room.
  __device__ std::uint32_t skew() const {
    if constexpr (PageTokens == 8)
      return lane_ / 2 * 32 + lane_ % 2 * 64;
    else
      return lane_ * 32 % shared_alignment;
  }

  __device__ void copy(std::uint32_t slot, std::uint32_t to, const std::byte* from,
                       std::uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
    const std::uint32_t sum = __reduce_add_sync(~0U, bytes);
    if (lane_ == 0)
      barrier_expect(&shared_.full[slot], sum);
    __syncwarp();
    if (bytes > 0)
      bulk_copy(to, from, bytes, &shared_.full[slot]);
#else
    for (std::uint32_t page = 0; page < tile_pages; ++page) {
      const auto p = static_cast<int>(page);
      const std::uint32_t n = __shfl_sync(~0U, bytes, p);
      const std::uint32_t target = __shfl_sync(~0U, to, p);
      const auto* origin = reinterpret_cast<const std::byte*>(
          __shfl_sync(~0U, reinterpret_cast<unsigned long long>(from), p));
      for (std::uint32_t i = lane_ * 16; i < n; i += 32 * 16)
        copy_16(target + i, origin + i);
    }
    barrier_arrive_after_copies(&shared_.full[slot]);
    __syncwarp();
    if (lane_ == 0)
      barrier_arrive(&shared_.full[slot]);
#endif
  }

  /// Waits for room of `bytes` in one piece and returns its shared address. Room comes free in the
  /// order in which it was taken.
  __device__ std::uint32_t reserve(std::uint32_t bytes) {
    const std::uint32_t skipped = next_ + bytes > args_.ring_bytes ? args_.ring_bytes - next_ : 0;
    while (used_ + skipped + bytes > args_.ring_bytes
           || produced_ - freed_ == attend_tune.ring_slots) {
      const std::uint32_t slot = freed_ % attend_tune.ring_slots;
      barrier_wait(&shared_.empty[slot], freed_ / attend_tune.ring_slots % 2);
      used_ -= shared_.tile_bytes[slot];
      ++freed_;
    }
    if (skipped > 0)
      next_ = 0;
    const std::uint32_t address = ring_ + next_;
    next_ += bytes;
    used_ += skipped + bytes;
    __syncwarp();
    if (lane_ == 0)
      shared_.tile_bytes[produced_ % attend_tune.ring_slots] = skipped + bytes;
    __syncwarp();
    return address;
  }

  __device__ void publish(const attend_segment& s) {
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
  std::uint32_t ring_;
  std::uint32_t lane_;
  std::uint32_t next_ = 0; ///< offset of free room in the ring
  std::uint32_t used_ = 0; ///< bytes taken, skipped ends included
  std::uint32_t produced_ = 0;
  std::uint32_t freed_ = 0;
  std::uint32_t published_ = 0;
};

} // namespace pikv::gpu::cuda
