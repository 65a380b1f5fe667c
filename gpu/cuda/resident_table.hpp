// SPDX-License-Identifier: Apache-2.0
/// \file
/// A page table in device memory, so that an attend over thousands of pages sends only those that
/// came since the last one.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include <pikv/gpu/cuda/launch_queue.hpp>
#include <pikv/gpu/kernels.hpp>

namespace pikv::gpu::cuda {

class resident_table final : public table_mirror {
public:
  /// Takes its memory from `memory`, beside the pages.
  explicit resident_table(arena& memory) noexcept : memory_(memory) {}

  std::size_t bytes() const noexcept override { return bytes_.load(std::memory_order_relaxed); }

  /// Enqueues what brings the copy up to `x`; valid for kernels behind it in this stream. Null where
  /// the device has no room. All calls come from one stream's thread: an older list may be asked
  /// for again, and kernels ahead in the stream still read what they were given.
  result<const page_view*> bring_up(launch_queue& q, const page_list& x);

private:
  result<bool> grow(launch_queue& q, std::size_t views);

  arena& memory_;
  block block_;
  std::atomic<std::size_t> bytes_{0}; ///< of the block, for other threads
  std::uint64_t edition_ = 0;
  std::size_t have_ = 0; ///< views of that edition
};

/// `x` in device memory, its mirror where it has one.
result<const page_view*> on_device(launch_queue& q, const page_list& x);

} // namespace pikv::gpu::cuda
