// SPDX-License-Identifier: Apache-2.0
/// \file
/// Copies of 64 KiB blocks between device memory and the host, both ways at once.
#pragma once

#include <memory>
#include <vector>

#include <pikv/gpu/device.hpp>

#include "device_memory.hpp"

namespace pikv::bench {

class traffic {
public:
  static constexpr std::size_t block_bytes = std::size_t{64} << 10;
  static constexpr std::size_t task_blocks = 64;
  static constexpr std::size_t task_bytes = block_bytes * task_blocks;
  static constexpr std::size_t host_bytes = 2 * 4 * task_bytes; ///< of scratch that it takes

  explicit traffic(gpu::device& device);

  /// Enqueues this many tasks in each direction.
  void enqueue(int tasks);
  bool done() const { return to_host_.last.done() && to_device_.last.done(); }
  /// Whether copies in both directions are still on their way.
  bool busy() const { return !to_host_.last.done() && !to_device_.last.done(); }
  void wait();

private:
  struct direction {
    std::unique_ptr<gpu::stream> stream;
    std::vector<std::vector<gpu::copy_item>> turns; ///< copies of one task; tasks take turns
    gpu::event last;
  };
  direction make(gpu::device& device, std::byte* from, std::byte* to) const;
  void enqueue(direction& d, int tasks);

  const gpu::kernel_table& kernels_;
  gpu::block host_;
  device_memory memory_;
  direction to_host_, to_device_;
};

} // namespace pikv::bench
