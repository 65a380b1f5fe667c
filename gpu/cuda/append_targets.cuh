// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a block of an append has to do: its stretch of the target list, sorted out.
#pragma once

#include <cstdint>

#include <pikv/gpu/cuda/append.hpp>
#include <pikv/gpu/cuda/codec_numeric.cuh>

namespace pikv::gpu::cuda::append_detail {

/// Chosen on an H200 with 8 heads of 128 in f16: 64 single tokens 3.6 us (stretches of 16: 5.5);
/// 65,536 tokens with summaries 159 us (one head a block: 174).
struct append_tuning {
  int threads = 128;
  std::uint32_t stretch = 16; ///< targets: with pages of 16 a bulk append writes whole pages
  /// A short list is cut finer, so that it spreads over the device and single tokens, whose columns
  /// take one store an element, take fewer each block.
  std::uint32_t short_list = 512;
  std::uint32_t short_stretch = 4;
  /// Heads that a block of a long list takes, so that the list is read and sorted out less often.
  std::uint32_t long_list = 8192;
  std::uint32_t heads = 4;
  int blocks = 8;         ///< resident blocks that registers must allow, between types of 16 bits
  int rows_in_flight = 2; ///< units of eight channels that a lane loads before it stores
};
inline constexpr append_tuning tuning{};
inline constexpr std::uint32_t most_targets =
    tuning.stretch + 63; ///< a page begins in its last target
inline constexpr std::uint32_t row_padding_bytes =
    16; ///< keeps rows aligned and off each other's banks

struct append_shape {
  append_launch x;
  form_offsets offsets;
  bool aligned = false; ///< rows begin at multiples of 16 bytes
  std::uint32_t stretch = tuning.stretch;
  std::uint32_t heads = 1; ///< of a block
  // Of append_complete only.
  const append_completion* completions = nullptr;
  summary_layout layout;
};

/// The block's targets, and how their K columns are written.
struct target_list {
  std::byte* page[most_targets];
  std::byte* page_before; ///< of the target ahead of the stretch
  std::uint32_t row[most_targets];
  std::uint16_t slot[most_targets];
  std::uint8_t starts_chunk[most_targets]; ///< with this one, 16 bytes of consecutive slots begin
  std::uint8_t chunks[most_targets], singles[most_targets]; ///< local indices
  std::uint32_t begin, end;                                 ///< the block's part of the list
  std::uint32_t chunk_count, single_count;
  std::uint8_t full[most_targets]; ///< local indices of the targets that fill their page
  std::uint32_t full_count;
  std::byte* summary[most_targets]; ///< of those
};

/// Loads the stretch and what follows of its last page. False: no page begins here.
__device__ inline bool load_targets(const append_shape& s, target_list& t) {
  const append_launch& x = s.x;
  const std::uint32_t first = blockIdx.x * s.stretch;
  const std::uint32_t limit = s.stretch + x.dims.page_tokens - 1;
  const std::uint32_t available = min(limit, x.count - first);
  if (threadIdx.x == 0) {
    t.begin = s.stretch;
    t.end = available;
    t.page_before = first > 0 ? x.targets[first - 1].page : nullptr;
  }
  for (std::uint32_t i = threadIdx.x; i < available; i += tuning.threads) {
    const append_target target = x.targets[first + i];
    if (s.completions != nullptr) // loaded for all, so that none waits for its slot
      t.summary[i] = s.completions[first + i].summary;
    t.page[i] = target.page;
    t.row[i] = target.row;
    t.slot[i] = target.slot;
  }
  __syncthreads();
  for (std::uint32_t i = threadIdx.x; i < available; i += tuning.threads)
    if (t.page[i] != (i > 0 ? t.page[i - 1] : t.page_before))
      i < s.stretch ? atomicMin(&t.begin, i) : atomicMin(&t.end, i);
  __syncthreads();
  return t.begin < min(s.stretch, available);
}

/// Divides the targets into chunks and singles and finds those that fill a page, all in order.
__device__ inline void find_chunks(std::uint32_t chunk, std::uint32_t page_tokens, target_list& t) {
  for (std::uint32_t i = t.begin + threadIdx.x; i < t.end; i += tuning.threads) {
    bool whole = t.slot[i] % chunk == 0 && i + chunk <= t.end;
    for (std::uint32_t j = 1; whole && j < chunk; ++j)
      whole = t.page[i + j] == t.page[i] && t.slot[i + j] == t.slot[i] + j;
    t.starts_chunk[i] = whole ? 1 : 0;
  }
  __syncthreads();
  if (warp_id() == 0) {
    std::uint32_t chunks = 0, singles = 0, full = 0;
    for (std::uint32_t base = t.begin; base < t.end; base += warp_lanes) {
      const std::uint32_t i = base + lane_id();
      const bool in = i < t.end;
      const std::uint32_t back = in ? t.slot[i] % chunk : 0;
      const bool covered = in && i >= t.begin + back && t.starts_chunk[i - back] != 0
                           && t.page[i - back] == t.page[i];
      const unsigned heads = __ballot_sync(whole_warp, covered && back == 0);
      const unsigned alone = __ballot_sync(whole_warp, in && !covered);
      const bool fills = in && t.slot[i] == page_tokens - 1;
      const unsigned filling = __ballot_sync(whole_warp, fills);
      const unsigned before = (1U << lane_id()) - 1;
      if (fills)
        t.full[full + __popc(filling & before)] = static_cast<std::uint8_t>(i);
      full += __popc(filling);
      if (covered && back == 0)
        t.chunks[chunks + __popc(heads & before)] = static_cast<std::uint8_t>(i);
      if (in && !covered)
        t.singles[singles + __popc(alone & before)] = static_cast<std::uint8_t>(i);
      chunks += __popc(heads);
      singles += __popc(alone);
    }
    if (lane_id() == 0) {
      t.chunk_count = chunks;
      t.single_count = singles;
      t.full_count = full;
    }
  }
  __syncthreads();
}

} // namespace pikv::gpu::cuda::append_detail
