// SPDX-License-Identifier: Apache-2.0
/// \file
/// One thread for each GPU that sees tasks end and says so. It reads words of mapped host memory
/// that the GPU writes behind each task: no call into the driver is on the way.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include <pikv/gpu/cuda/launch_queue.hpp>

namespace pikv::gpu::cuda {

/// The time that one stream's tasks took, from their calls or the end of the task before.
class busy_time {
public:
  void add(std::chrono::steady_clock::time_point begun) noexcept { // the poller's thread
    const auto now = std::chrono::steady_clock::now();
    busy_ns_.fetch_add(std::chrono::nanoseconds(now - std::max(begun, last_end_)).count(),
                       std::memory_order_relaxed);
    last_end_ = now;
    tasks_.fetch_add(1, std::memory_order_relaxed);
  }
  stream_usage get() const noexcept {
    return {std::chrono::nanoseconds(busy_ns_.load(std::memory_order_relaxed)),
            tasks_.load(std::memory_order_relaxed)};
  }

private:
  std::atomic<std::int64_t> busy_ns_{0};
  std::atomic<std::uint64_t> tasks_{0};
  std::chrono::steady_clock::time_point last_end_{};
};

/// A task whose call has returned and whose work may still be on the GPU.
struct task_in_flight {
  std::shared_ptr<launch_queue> queue;
  launch_queue::leftover left;
  stream::task work; ///< owns what the kernels touch
  stream::completion done;
  error failed; ///< of the call itself
  std::chrono::steady_clock::time_point begun;
  std::shared_ptr<busy_time> usage;
};

/// Thread-safe.
class completion_poller {
public:
  /// The one of a GPU, shared by its logical devices. It lives as long as the process, for the last
  /// handle of a stream may go on its thread; without tasks it sleeps. Throws std::system_error when
  /// the system refuses a thread.
  static completion_poller& of(int gpu);

  /// Takes over a task; those of one queue come in their order. `spin`: how long to look without a
  /// pause when nothing ends; longer answers sooner and burns a core.
  void add(std::unique_ptr<task_in_flight> x, std::chrono::microseconds spin);

  /// Blocks until every task of the queue that was added has been completed. On the poller's own
  /// thread it returns at once.
  void drain(const launch_queue& queue);

private:
  using task_ptr = std::unique_ptr<task_in_flight>;
  using steady = std::chrono::steady_clock;
  struct queue_tasks {
    const launch_queue* queue;
    std::deque<task_ptr> tasks;
  };

  explicit completion_poller(int gpu) : gpu_(gpu) {}
  [[noreturn]] void loop();
  void take_in();
  bool complete_ended();
  void complete_broken();
  void complete(task_ptr x, const error& trouble) noexcept;

  const int gpu_;
  std::list<queue_tasks> queues_; // the thread's own, as is the next
  std::chrono::microseconds spin_{0};

  std::atomic<std::size_t> added_{0};
  std::mutex lock_; // guards the rest
  std::condition_variable changed_;
  std::vector<task_ptr> fresh_;
  std::chrono::microseconds wished_spin_{0};
  std::vector<const launch_queue*> open_; ///< of each task that is not completed
};

} // namespace pikv::gpu::cuda
