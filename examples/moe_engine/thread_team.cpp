// SPDX-License-Identifier: Apache-2.0
#include <moe_engine/thread_team.hpp>

#include <algorithm>

namespace pikv::moe_engine {

thread_team::thread_team(std::size_t threads) {
  if (threads == 0)
    threads = std::max<std::size_t>(1, std::thread::hardware_concurrency());
  for (std::size_t i = 1; i < threads; ++i)
    helpers_.emplace_back([this] { help(); });
}

thread_team::~thread_team() {
  {
    std::lock_guard guard{mutex_};
    stopping_ = true;
  }
  started_.notify_all();
  for (auto& x : helpers_)
    x.join();
}

void thread_team::run_parts(std::size_t parts, job x) {
  // Waking a helper takes some microseconds; a single part is done sooner than that.
  if (parts <= 1 || helpers_.empty()) {
    for (std::size_t i = 0; i < parts; ++i)
      x.call(x.context, i);
    return;
  }
  std::unique_lock lock{mutex_};
  job_ = x;
  next_ = 0;
  done_ = 0;
  parts_ = parts;
  started_.notify_all();
  work_on_current(lock);
  ended_.wait(lock, [this] { return done_ == parts_; });
  parts_ = next_ = done_ = 0;
}

void thread_team::work_on_current(std::unique_lock<std::mutex>& lock) {
  while (next_ < parts_) {
    const auto part = next_++;
    const auto current = job_;
    lock.unlock();
    current.call(current.context, part);
    lock.lock();
    if (++done_ == parts_)
      ended_.notify_one();
  }
}

void thread_team::help() {
  std::unique_lock lock{mutex_};
  while (true) {
    started_.wait(lock, [this] { return stopping_ || next_ < parts_; });
    if (stopping_)
      return;
    work_on_current(lock);
  }
}

} // namespace pikv::moe_engine
