// SPDX-License-Identifier: Apache-2.0
/// \file
/// The ring of tiles in shared memory as one fetching warp sees it. All of them take all tiles, so
/// that they agree on where each tile lies without a word.
#pragma once

#include <pikv/gpu/cuda/attend_shared.cuh>

namespace pikv::gpu::cuda {

template <std::uint32_t Producers>
class attend_ring {
public:
  /// Tiles in the ring at once: so few that no producer can wait for a phase of a barrier that has
  /// come round twice because of the others.
  static constexpr std::uint32_t most_tiles = attend_tune.ring_slots / 2 - Producers;

  /// `address`, `bytes`: of the ring, in shared memory.
  __device__ attend_ring(attend_shared& shared, std::uint32_t address, std::uint32_t bytes)
      : shared_(shared), address_(address), bytes_(bytes) {}

  /// The number of the tile that is taken next.
  __device__ std::uint32_t tile() const { return taken_; }

  /// Waits for room of `bytes` in one piece for the next tile and returns its shared address. Room
  /// comes free in the order in which it was taken; lane i remembers the size of the tile in slot
  /// i.
  __device__ std::uint32_t take(std::uint32_t bytes) {
    static_assert(attend_tune.ring_slots == 32);
    bool wraps; // also where a tile ended exactly at the ring's end, and nothing is skipped
    std::uint32_t skipped;
    while (true) {
      if (freed_ == taken_)
        next_ = used_ = 0;
      wraps = next_ + bytes > bytes_;
      skipped = wraps ? bytes_ - next_ : 0;
      if (used_ + skipped + bytes <= bytes_ && taken_ - freed_ < most_tiles)
        break;
      const std::uint32_t slot = freed_ % attend_tune.ring_slots;
      barrier_wait(&shared_.empty[slot], freed_ / attend_tune.ring_slots % 2);
      used_ -= __shfl_sync(~0U, size_, static_cast<int>(slot));
      ++freed_;
    }
    if (wraps)
      next_ = 0;
    const std::uint32_t begin = address_ + next_;
    next_ += bytes;
    used_ += skipped + bytes;
    if (threadIdx.x % 32 == taken_ % attend_tune.ring_slots)
      size_ = skipped + bytes;
    ++taken_;
    return begin;
  }

private:
  attend_shared& shared_;
  std::uint32_t address_, bytes_;
  std::uint32_t next_ = 0; ///< offset of free room
  std::uint32_t used_ = 0; ///< bytes taken, skipped ends included
  std::uint32_t size_ = 0; ///< bytes of the tile in this lane's slot
  std::uint32_t taken_ = 0;
  std::uint32_t freed_ = 0;
};

} // namespace pikv::gpu::cuda
