// SPDX-License-Identifier: Apache-2.0
/// \file
/// What tasks of one stream take for their descriptors, the host's tensors and what kernels hand to
/// one another: rings for the usual amount. What a ring cannot hold comes from a pool of CUDA's
/// stream-ordered allocator and goes back when its task is closed. Nothing here waits for the
/// whole GPU, as cudaMalloc and cudaHostAlloc do: an engine's stream may stand and wait for the
/// very task that asks for memory. It belongs to the stream's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <pikv/gpu/cuda/staging_ring.hpp>

struct CUmemPoolHandle_st;

namespace pikv::gpu::cuda {

class task_memory {
public:
  struct piece {
    std::byte* host; ///< null for `work`
    std::byte* device;
  };
  /// Waits until the task of this number has ended; false when the GPU failed.
  using await_fn = std::function<bool(std::uint64_t)>;

  /// On the current GPU, `gpu`, for tasks of `stream`. `working_bytes`: of the ring for `work`.
  /// Errors: errc::over_budget, errc::unsupported, as CUDA's.
  static result<std::unique_ptr<task_memory>> make(int gpu, CUstream_st* stream,
                                                   std::size_t working_bytes, await_fn await);
  ~task_memory();

  /// For the host to write until `copy_new`. Waits for earlier tasks where they have the ring.
  /// Throws std::bad_alloc, as the next two do.
  piece upload(std::size_t bytes) { return take(uploads_, bytes); }
  /// For kernels to write and the host to read from `host_of`. Waits likewise.
  piece result_piece(std::size_t bytes) { return take(results_, bytes); }
  /// For kernels alone. Does not wait.
  std::byte* work(std::size_t bytes);

  /// Where the host's copy of a piece of `result_piece` belongs; null for any other address.
  std::byte* host_of(const std::byte* device) const noexcept;

  bool has_new() const noexcept;
  /// Enqueues copies to the device of what `upload` gave since the last call.
  result<void> copy_new(CUstream_st* stream);

  /// Ends the pieces of the running task, which has this number.
  void close(std::uint64_t task);
  /// Takes back the pieces of tasks up to this number.
  void release(std::uint64_t ended) noexcept;

private:
  struct large_piece {
    std::unique_ptr<std::byte[]> host; ///< pageable
    std::byte* device = nullptr;
    std::size_t bytes = 0;
    bool to_copy = false;
  };

  task_memory(CUstream_st* stream, await_fn await, staging_ring uploads, staging_ring results,
              staging_ring working)
      : stream_(stream), await_(std::move(await)), uploads_(std::move(uploads)),
        results_(std::move(results)), working_(std::move(working)) {}
  piece take(staging_ring& ring, std::size_t bytes);
  large_piece& add_large(std::size_t bytes);

  CUstream_st* stream_;
  await_fn await_;
  staging_ring uploads_, results_, working_;
  CUmemPoolHandle_st* pool_ = nullptr;
  std::vector<large_piece> large_; ///< of the running task
};

} // namespace pikv::gpu::cuda
