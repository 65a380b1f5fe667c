// SPDX-License-Identifier: Apache-2.0
/// \file
/// The helpers of one host device, shared by its streams. One run at a time has the helpers; a run
/// that comes while they are taken does its parts on its own thread.
///
/// Idle helpers spin for the given time, then sleep. A run never waits for a sleeping helper: parts
/// are claimed one by one, and the caller claims whatever no helper has taken.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <pikv/gpu/host/worker_pool.hpp>

namespace pikv::gpu {

class thread_pool final : public executor {
public:
  /// Starts `threads - 1` helpers. Throws std::system_error when the system refuses a thread.
  thread_pool(std::size_t threads, std::chrono::microseconds spin, const std::string& name);
  thread_pool(const thread_pool&) = delete;
  thread_pool& operator=(const thread_pool&) = delete;
  ~thread_pool() override; ///< precondition: no run is under way; not called by a helper

  std::size_t threads() const noexcept override { return threads_; }

private:
  void run_parts(std::size_t parts, part_fn f, void* context) noexcept override;
  void work(std::uint64_t run, std::size_t worker) noexcept;
  void help(std::size_t worker) noexcept;
  void wake(std::size_t count) noexcept;
  void stop() noexcept;

  const std::size_t threads_;
  const std::chrono::microseconds spin_;

  // The run under way. `next_` holds the run's number (upper 32 bits) and its next part, so that a
  // helper that comes late can claim nothing of a later run with what it read of an earlier one.
  alignas(64) std::atomic<std::uint64_t> next_{0};
  std::atomic<std::uint32_t> parts_{0};
  std::atomic<part_fn> part_{nullptr};
  std::atomic<void*> context_{nullptr};
  alignas(64) std::atomic<std::uint32_t> finished_{0}; // parts of this run that have ended
  alignas(64) std::atomic<bool> taken_{false};         // a caller has the helpers

  alignas(64) std::atomic<std::uint32_t> sleepers_{0};
  std::atomic<bool> stopping_{false};
  std::mutex sleep_lock_;
  std::condition_variable sleep_;
  std::vector<std::thread> helpers_;
};

} // namespace pikv::gpu
