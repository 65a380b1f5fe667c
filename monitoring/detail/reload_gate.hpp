// SPDX-License-Identifier: Apache-2.0
/// \file
/// Runs a blocking change of the configuration on a thread of its own, one at a time, for callers
/// with a deadline. Private to monitoring.
#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include <pikv/messages/error.hpp>

namespace pikv::monitoring::detail {

class reload_gate {
public:
  /// What to answer.
  using work_fn = std::function<result<std::string>()>;

  ~reload_gate() {
    stop();
    if (thread_.joinable())
      thread_.join();
  }

  /// Waits for its turn, runs, and waits for the end. deadline_exceeded: not ended in time, but a
  /// reload that has begun goes on; cancelled: stop() came first. May throw when no thread can be
  /// made.
  result<std::string> run(work_fn f, std::chrono::nanoseconds deadline) {
    const auto until = std::chrono::steady_clock::now() + deadline;
    std::unique_lock lock{mutex_};
    if (!changed_.wait_until(lock, until, [&] { return !busy_ || stopping_; }))
      return late();
    if (stopping_)
      return stopped();
    if (thread_.joinable())
      thread_.join(); // it no longer needs the lock once busy_ is false
    auto outcome = std::make_shared<std::optional<result<std::string>>>();
    thread_ = std::thread{[this, outcome, f = std::move(f)] { work(f, *outcome); }};
    busy_ = true;
    if (!changed_.wait_until(lock, until, [&] { return outcome->has_value() || stopping_; }))
      return late();
    if (!outcome->has_value())
      return stopped();
    return **outcome;
  }

  /// Wakes all callers; no reload begins any more.
  void stop() noexcept {
    std::lock_guard guard{mutex_};
    stopping_ = true;
    changed_.notify_all();
  }

private:
  static result<std::string> late() {
    return error{errc::deadline_exceeded,
                 "the change did not end in time; see pikv_config_version for its outcome"};
  }
  static result<std::string> stopped() {
    return error{errc::cancelled, "the process is stopping; try again after its restart"};
  }

  void work(const work_fn& f, std::optional<result<std::string>>& outcome) noexcept {
    auto x = call(f);
    std::lock_guard guard{mutex_};
    outcome.emplace(std::move(x));
    busy_ = false;
    changed_.notify_all();
  }

  static result<std::string> call(const work_fn& f) noexcept {
    try {
      return f();
    } catch (const std::exception& e) {
      return error{errc::internal, e.what()};
    } catch (...) {
      return error{errc::internal, "the reload failed for an unknown reason"};
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool busy_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

} // namespace pikv::monitoring::detail
