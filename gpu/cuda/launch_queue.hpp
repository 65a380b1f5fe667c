// SPDX-License-Identifier: Apache-2.0
/// \file
/// What one stream of the CUDA backend works with: its CUDA stream, memory to stage descriptors and
/// the host's tensors in, and what the running task leaves behind. It belongs to its stream's
/// thread and is the executor that the kernel table's functions are given.
///
/// Tasks are numbered. `close` enqueues, behind a task's kernels, the write of its number to a word
/// of mapped host memory: whoever reads that word knows without a call which tasks have ended.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include <pikv/gpu/cuda/task_memory.hpp>
#include <pikv/gpu/device.hpp>
#include <pikv/gpu/host/worker_pool.hpp>

struct CUevent_st;
struct CUstream_st;

namespace pikv::gpu::cuda {

struct attend_row;
struct attend_sequence;

class launch_queue final : public executor {
public:
  /// errc::unsupported or errc::over_budget where the GPU gives no stream or memory.
  static result<std::shared_ptr<launch_queue>> make(int gpu, stream_role role);
  ~launch_queue() override;

  std::size_t threads() const noexcept override { return 1; }
  CUstream_st* stream() const noexcept { return stream_; }

  /// Selects the GPU for the calling thread. Called before each kernel of a task.
  void begin() noexcept;

  /// A device copy of `x`, valid after `flush` for kernels launched behind it, to the task's end.
  template <class T>
  const T* upload(std::span<const T> x) {
    return reinterpret_cast<const T*>(put(std::as_bytes(x)));
  }
  /// The same for content that the caller writes to `host` before `flush`.
  task_memory::piece stage(std::size_t bytes) { return memory_->upload(bytes); }
  /// What `choose` made in this task, so that the attention that uses its selection uploads nothing
  /// again: device memory. Gone when the task ends.
  struct choice_made {
    const std::uint32_t* offsets = nullptr; ///< of the selection; null: none was made
    const attend_sequence* sequences = nullptr;
    const attend_row* rows = nullptr;
    std::uint32_t row_count = 0;
  };
  void keep(const choice_made& x) noexcept { choice_ = x; }
  const choice_made& choice() const noexcept { return choice_; }
  /// Device memory that a kernel may write, to the task's end, for `fetch`.
  std::byte* reserve(std::size_t bytes) { return memory_->result_piece(bytes).device; }
  /// Device memory for kernels alone, to the task's end. There is room for several tasks ahead of
  /// the GPU.
  std::byte* work(std::size_t bytes) { return memory_->work(bytes); }
  /// Enqueues the copies of what was uploaded. While the GPU is at an earlier task they go beside
  /// it, so that a kernel that comes next does not wait for them.
  result<void> flush();
  /// Waits, then gives the host's copy of `bytes` at `device`, which `reserve` returned.
  result<const std::byte*> fetch(const std::byte* device, std::size_t bytes);
  /// Waits until the GPU has done everything enqueued so far.
  result<void> wait();
  /// Keeps something that kernels use alive to the task's end.
  void keep(block x) { left_.kept.push_back(std::move(x)); }
  void when_done(std::function<void()> f) override { left_.after.push_back(std::move(f)); }

  /// Spreads work over `n` streams, this queue's among them: `f(i, stream)` enqueues part i. All
  /// parts begin behind what was enqueued so far, and what comes later begins behind them all.
  result<void> spread(std::size_t n,
                      const std::function<result<void>(std::size_t, CUstream_st*)>& f);

  /// Zeroed memory that attention keeps between its launches.
  result<std::byte*> attend_workspace();

  /// Whether kernels can use the address as it is: device memory, or host memory that is mapped.
  static bool reachable(const void* p) noexcept;

  /// Remembers the first error of a task.
  void fail(error e) noexcept;

  /// What a task left when its call returned.
  struct leftover {
    std::uint64_t number = 0; ///< see `ended`; 0: the end cannot be seen there, wait instead
    error failed;
    std::vector<std::function<void()>> after;
    std::vector<block> kept;
  };
  /// Ends the running task; the next piece of memory belongs to the next one.
  leftover close();
  /// Whether the GPU has done the task of this number. Any thread.
  bool ended(std::uint64_t number) const noexcept;
  /// The stream's error, if the GPU failed; ok while it works. Any thread; a call into the driver.
  error trouble() const noexcept;
  /// Ends the running task and waits for it: all of it is over when this returns.
  error finish() noexcept;

private:
  launch_queue(int gpu) : gpu_(gpu) {}
  void run_parts(std::size_t parts, part_fn f, void* context) noexcept override;
  const std::byte* put(std::span<const std::byte> x);
  bool await(std::uint64_t number) noexcept;

  const int gpu_;
  CUstream_st* stream_ = nullptr;
  CUstream_st* side_ = nullptr; ///< of uploads that go beside an earlier task
  CUevent_st* uploaded_ = nullptr;
  std::unique_ptr<task_memory> memory_;
  struct helper {
    CUstream_st* stream = nullptr;
    CUevent_st* event = nullptr;
  };
  std::vector<helper> helpers_; ///< of `spread`, made when first needed
  std::byte* workspace_ = nullptr;
  std::uint32_t* ended_ = nullptr; ///< mapped; the number of the last task that ended, modulo 2^32
  std::uint64_t number_ = 0;       ///< of the last task that was closed
  choice_made choice_;
  leftover left_;
};

/// The queue behind an executor that a kernel of this backend was given.
inline launch_queue& queue_of(executor& x) noexcept { return static_cast<launch_queue&>(x); }

} // namespace pikv::gpu::cuda
