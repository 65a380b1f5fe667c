// SPDX-License-Identifier: Apache-2.0
/// \file
/// The engine's threads. They sleep whenever the engine has nothing to compute: while PiKV attends,
/// the cores belong to PiKV's own threads.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace pikv::moe_engine {

/// Runs the parts of one job on `threads` threads, the caller among them. One thread at a time may
/// call `run`.
class thread_team {
public:
  explicit thread_team(std::size_t threads); ///< 0: one for each core
  ~thread_team();
  thread_team(const thread_team&) = delete;
  thread_team& operator=(const thread_team&) = delete;

  std::size_t threads() const noexcept { return helpers_.size() + 1; }

  /// Calls `part(i)` once for every i below `parts` and returns when all are done. Parts are
  /// claimed one by one, so uneven parts balance. They must not throw.
  template <class F>
  void run(std::size_t parts, F&& part) {
    using fn = std::remove_reference_t<F>;
    run_parts(parts, {[](void* f, std::size_t i) { (*static_cast<fn*>(f))(i); },
                      const_cast<std::remove_const_t<fn>*>(&part)});
  }

private:
  struct job {
    void (*call)(void* context, std::size_t part) = nullptr;
    void* context = nullptr;
  };
  void run_parts(std::size_t parts, job x);
  void help();
  void work_on_current(std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::condition_variable started_; // a job came, or the end
  std::condition_variable ended_;   // the last part of the job is done
  job job_;
  std::size_t next_ = 0;  // first part that nobody has claimed
  std::size_t parts_ = 0; // of the current job
  std::size_t done_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> helpers_;
};

} // namespace pikv::moe_engine
