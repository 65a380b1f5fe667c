// SPDX-License-Identifier: Apache-2.0
/// \file
/// A stream of the host backend: one thread that runs its tasks in order, each followed by its
/// completion. `enqueue`, `record` and `wait` take a lock for the time of a push.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include <pikv/gpu/device.hpp>
#include <pikv/gpu/host/worker_pool.hpp>

namespace pikv::gpu {

class host_stream final : public stream {
public:
  /// Called on the stream's thread before each task with its number, from 1. With an error other
  /// than ok the task does not run and its completion gets that error.
  using fault_hook = std::function<error(std::uint64_t nth)>;

  struct options {
    std::string name;                   ///< of the thread
    std::chrono::microseconds spin{50}; ///< how long the idle thread spins before it sleeps
    fault_hook fault;
  };

  /// Throws std::system_error when the system refuses a thread.
  host_stream(std::shared_ptr<executor> workers, options x);
  host_stream(const host_stream&) = delete;
  host_stream& operator=(const host_stream&) = delete;

  /// Blocks until all enqueued work has run. On the stream's own thread (a task or completion that
  /// dropped the last handle) it returns at once, and the thread ends after the last item.
  ~host_stream() override;

  void enqueue(task work, completion done = {}, const char* label = "task") override;
  event record() override;
  void wait(const event& earlier) override;
  stream_usage usage() const noexcept override;
  void synchronize() override; ///< on the stream's own thread it returns at once

private:
  struct item;
  struct state; // shared with the thread, which may outlive this object for its last item
  std::shared_ptr<state> state_;
  std::thread thread_;
};

} // namespace pikv::gpu
