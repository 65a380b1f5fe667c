// SPDX-License-Identifier: Apache-2.0
/// \file
/// The largest of many keys, in order of their index, by one block: a radix search for the cut,
/// then an ordered compaction. Key 0 is never taken; among keys at the cut the lower index goes
/// first.
#pragma once

#include <pikv/gpu/cuda/codec_numeric.cuh>

namespace pikv::gpu::cuda {

/// All keys above `key` are taken, and the first `ties` of those equal to it.
struct key_cut {
  std::uint32_t key = 0, ties = 0;
};

template <int Threads>
struct top_storage {
  std::uint32_t bins[256];
  std::uint32_t low, high, prefix, left;
  bool whole; ///< the bin that was reached is taken as a whole
  /// By warp: keys above the cut in the low half, keys at the cut in the high half.
  alignas(16) std::uint32_t counts[2][Threads / 32];
  alignas(8) std::uint32_t rounds[4][Threads / 32]; ///< likewise, of all rounds of a short list
};

/// Reaches the bin that holds the key with `left` keys above or equal to it. The first warp works.
template <int Threads>
__device__ __forceinline__ void choose_bin(std::uint32_t width, top_storage<Threads>& s) {
  const std::uint32_t first = 255 - 8 * lane_id(); // lanes go from the largest bin down
  std::uint32_t n[8], sum = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    n[i] = s.bins[first - i];
    sum += n[i];
  }
  std::uint32_t before = sum; // inclusive, then exclusive
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const std::uint32_t x = __shfl_up_sync(whole_warp, before, step);
    before += lane_id() >= static_cast<std::uint32_t>(step) ? x : 0;
  }
  before -= sum;
  const std::uint32_t left = s.left;
  __syncwarp();
  if (before < left && left <= before + sum) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (before < left && left <= before + n[i]) {
        s.prefix = s.prefix << width | (first - i);
        s.left = left - before;
        s.whole = left - before == n[i];
        break;
      }
      before += n[i];
    }
  }
}

/// The cut that takes exactly `wanted` of `count` keys, of which more than `wanted` are above 0.
/// All threads call; `low` and `high` are the smallest and largest key above 0.
template <int Threads>
__device__ key_cut find_cut(const std::uint32_t* keys, std::uint32_t count, std::uint32_t wanted,
                            std::uint32_t low, std::uint32_t high, top_storage<Threads>& s) {
  std::uint32_t shift = low == high ? 0 : 32 - __clz(static_cast<int>(low ^ high));
  // Bits above `shift` are common to all keys; offsets from the common part keep them out.
  const std::uint32_t base = shift == 32 ? 0 : low >> shift << shift;
  if (threadIdx.x == 0) {
    s.prefix = 0;
    s.left = wanted;
    s.whole = false;
  }
  while (shift > 0) {
    const std::uint32_t width = min(shift, 8U);
    const std::uint32_t above = shift;
    shift -= width;
    for (std::uint32_t i = threadIdx.x; i < 256; i += Threads)
      s.bins[i] = 0;
    __syncthreads();
    const std::uint32_t prefix = s.prefix;
    for (std::uint32_t i = threadIdx.x; i < count; i += Threads) {
      const std::uint32_t x = keys[i] - base;
      if (keys[i] != 0 && (above == 32 || x >> above == prefix))
        atomicAdd(&s.bins[x >> shift & ((1U << width) - 1)], 1);
    }
    __syncthreads();
    if (warp_id() == 0)
      choose_bin(width, s);
    __syncthreads();
    if (s.whole)
      return {base + (s.prefix << shift) - 1, 0};
  }
  __syncthreads();
  return {base + s.prefix, s.left};
}

/// take_above for up to 4 * Threads keys: the rounds are counted at once, with one barrier.
template <int Threads, class F>
__device__ __forceinline__ std::uint32_t take_above_short(const std::uint32_t* keys,
                                                          std::uint32_t count, key_cut cut, F take,
                                                          top_storage<Threads>& s) {
  constexpr std::uint32_t warps = Threads / 32, rounds = 4;
  static_assert(rounds * warps == 2 * warp_lanes);
  std::uint32_t key[rounds];
  unsigned above[rounds], equal[rounds];
#pragma unroll
  for (std::uint32_t j = 0; j < rounds; ++j) {
    const std::uint32_t i = j * Threads + threadIdx.x;
    key[j] = i < count ? keys[i] : 0;
    above[j] = __ballot_sync(whole_warp, key[j] > cut.key);
    equal[j] = __ballot_sync(whole_warp, key[j] == cut.key && key[j] != 0 && cut.ties > 0);
    if (lane_id() == 0)
      s.rounds[j][warp_id()] = __popc(above[j]) | __popc(equal[j]) << 16;
  }
  __syncthreads();
  const uint2 n = reinterpret_cast<const uint2*>(s.rounds)[lane_id()]; // two entries a lane
  std::uint32_t through = n.x + n.y;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const std::uint32_t x = __shfl_up_sync(whole_warp, through, step);
    through += lane_id() >= static_cast<std::uint32_t>(step) ? x : 0;
  }
  const unsigned lower_lanes = (1U << lane_id()) - 1;
#pragma unroll
  for (std::uint32_t j = 0; j < rounds; ++j) {
    const int entry = static_cast<int>(j * warps + warp_id());
    const std::uint32_t mine =
        warp_id() % 2 == 0 ? n.x + n.y : n.y; // from the entry to its pair's end
    const std::uint32_t before =
        __shfl_sync(whole_warp, through, entry / 2) - __shfl_sync(whole_warp, mine, entry / 2);
    const std::uint32_t a = (before & 0xFFFF) + __popc(above[j] & lower_lanes);
    const std::uint32_t e = (before >> 16) + __popc(equal[j] & lower_lanes);
    const bool is_equal = (equal[j] >> lane_id() & 1) != 0;
    if (key[j] > cut.key || (is_equal && e < cut.ties))
      take(a + min(e, cut.ties), j * Threads + threadIdx.x);
  }
  const std::uint32_t all = __shfl_sync(whole_warp, through, 31);
  return (all & 0xFFFF) + min(all >> 16, cut.ties);
}

/// Calls take(place, index) for each taken key, places counted in order of the indices; returns
/// how many there are. Each key goes to one thread.
template <int Threads, class F>
__device__ std::uint32_t take_above(const std::uint32_t* keys, std::uint32_t count, key_cut cut,
                                    F take, top_storage<Threads>& s) {
  if (count <= 4 * Threads)
    return take_above_short(keys, count, cut, take, s);
  constexpr std::uint32_t warps = Threads / 32;
  std::uint32_t above_before = 0, equal_before = 0;
  const unsigned lower_lanes = (1U << lane_id()) - 1;
  for (std::uint32_t first = 0, turn = 0; first < count; first += Threads, turn ^= 1) {
    const std::uint32_t i = first + threadIdx.x;
    const std::uint32_t key = i < count ? keys[i] : 0;
    const bool above = key > cut.key;
    const bool equal = key == cut.key && key != 0 && cut.ties > 0;
    const unsigned above_lanes = __ballot_sync(whole_warp, above);
    const unsigned equal_lanes = __ballot_sync(whole_warp, equal);
    if (lane_id() == 0)
      s.counts[turn][warp_id()] = __popc(above_lanes) | __popc(equal_lanes) << 16;
    __syncthreads(); // the other turn's counts are free by the next one
    std::uint32_t before = 0, all = 0;
#pragma unroll
    for (std::uint32_t w = 0; w < warps; w += 4) {
      const uint4 n = *reinterpret_cast<const uint4*>(&s.counts[turn][w]);
      const std::uint32_t own = warp_id();
      before += (w < own ? n.x : 0) + (w + 1 < own ? n.y : 0) + (w + 2 < own ? n.z : 0)
                + (w + 3 < own ? n.w : 0);
      all += n.x + n.y + n.z + n.w;
    }
    const std::uint32_t a = above_before + (before & 0xFFFF) + __popc(above_lanes & lower_lanes);
    const std::uint32_t e = equal_before + (before >> 16) + __popc(equal_lanes & lower_lanes);
    if (above || (equal && e < cut.ties))
      take(a + min(e, cut.ties), i);
    above_before += all & 0xFFFF;
    equal_before += all >> 16;
  }
  return above_before + min(equal_before, cut.ties);
}

} // namespace pikv::gpu::cuda
