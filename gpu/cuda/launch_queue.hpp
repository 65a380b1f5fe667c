// SPDX-License-Identifier: Apache-2.0
/// \file
/// What one stream of the CUDA backend works with: its CUDA stream, memory to stage descriptors and
/// the host's tensors in, and the first error of the task that runs. It belongs to its stream's
/// thread and is the executor that the kernel table's functions are given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <pikv/gpu/device.hpp>
#include <pikv/gpu/host/worker_pool.hpp>

struct CUstream_st;

namespace pikv::gpu::cuda {

class launch_queue final : public executor {
public:
  /// errc::unsupported or errc::over_budget where the GPU gives no stream or memory.
  static result<std::shared_ptr<launch_queue>> make(int gpu, stream_role role);
  ~launch_queue() override;

  std::size_t threads() const noexcept override { return 1; }
  CUstream_st* stream() const noexcept { return stream_; }

  /// Selects the GPU for the calling thread, and forgets what was staged once everything enqueued
  /// has been waited for: copies from pinned memory read it long after the call. Called before each
  /// kernel of a task.
  void begin();

  /// A device copy of `x`, valid after `flush` for kernels launched behind it.
  template <class T>
  const T* upload(std::span<const T> x) {
    return reinterpret_cast<const T*>(put(std::as_bytes(x)));
  }
  /// Device memory that a kernel may write.
  std::byte* reserve(std::size_t bytes) { return at(place(bytes)); }
  /// Enqueues the copies of what was uploaded.
  result<void> flush();
  /// Waits, then gives the host's copy of `bytes` at `device`, which `reserve` returned.
  result<const std::byte*> fetch(const std::byte* device, std::size_t bytes);
  /// Waits until the GPU has done everything enqueued so far.
  result<void> wait();

  /// Zeroed memory that attention keeps between its launches.
  result<std::byte*> attend_workspace();

  /// Whether kernels can use the address as it is: device memory, or host memory that is mapped.
  static bool reachable(const void* p) noexcept;

  /// Remembers the first error of a task; `finish` waits for the task's work and hands it out.
  void fail(error e) noexcept;
  error finish() noexcept;

private:
  /// Pinned host memory and device memory of one size: what is staged has the same offset in both.
  struct chunk {
    std::byte* host = nullptr;
    std::byte* device = nullptr;
    std::size_t bytes = 0;
    std::size_t used = 0;
    std::size_t flushed = 0;
  };
  struct spot {
    std::size_t chunk = 0;
    std::size_t offset = 0;
  };

  launch_queue(int gpu) : gpu_(gpu) {}
  void run_parts(std::size_t parts, part_fn f, void* context) noexcept override;
  result<void> add_chunk(std::size_t bytes);
  spot place(std::size_t bytes);
  std::byte* at(spot x) const { return chunks_[x.chunk].device + x.offset; }
  const std::byte* put(std::span<const std::byte> x);

  const int gpu_;
  CUstream_st* stream_ = nullptr;
  std::vector<chunk> chunks_;
  std::byte* workspace_ = nullptr;
  bool busy_ = false; ///< work was enqueued that nobody has waited for
  error failed_;
};

/// The queue behind an executor that a kernel of this backend was given.
inline launch_queue& queue_of(executor& x) noexcept { return static_cast<launch_queue&>(x); }

} // namespace pikv::gpu::cuda
