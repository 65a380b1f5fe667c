// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/host/thread_pool.hpp>

#include <algorithm>
#include <limits>

#include <pikv/gpu/host/polite_spin.hpp>
#include <pikv/gpu/host/thread_name.hpp>

namespace pikv::gpu {

namespace {

constexpr std::uint64_t part_mask = std::numeric_limits<std::uint32_t>::max();

constexpr std::uint64_t run_of(std::uint64_t next) noexcept { return next & ~part_mask; }

} // namespace

thread_pool::thread_pool(std::size_t threads, std::chrono::microseconds spin,
                         const std::string& name)
    : threads_(threads), spin_(spin) {
  helpers_.reserve(threads - 1);
  try {
    for (std::size_t i = 1; i < threads; ++i)
      helpers_.emplace_back([this, i, name] {
        detail::name_this_thread(name);
        help(i);
      });
  } catch (...) {
    stop();
    throw;
  }
}

thread_pool::~thread_pool() { stop(); }

void thread_pool::stop() noexcept {
  {
    const std::lock_guard guard(sleep_lock_);
    stopping_.store(true);
  }
  sleep_.notify_all();
  for (std::thread& x : helpers_)
    x.join();
}

void thread_pool::run_parts(std::size_t parts, part_fn f, void* context) noexcept {
  if (threads_ == 1 || parts < 2 || parts >= part_mask
      || taken_.exchange(true, std::memory_order_acquire)) {
    for (std::size_t i = 0; i < parts; ++i)
      f(context, i, 0);
    return;
  }
  const std::uint64_t run = run_of(next_.load(std::memory_order_relaxed)) + part_mask + 1;
  const auto count = static_cast<std::uint32_t>(parts);
  finished_.store(0, std::memory_order_relaxed);
  parts_.store(count, std::memory_order_release);
  part_.store(f, std::memory_order_release);
  context_.store(context, std::memory_order_release);
  // Sequentially consistent with the sleepers: either they see the run or they are seen here.
  next_.store(run);
  if (const std::uint32_t n = sleepers_.load(); n != 0)
    wake(std::min<std::size_t>(n, parts - 1));
  work(run, 0);
  detail::spin_until([&] { return finished_.load(std::memory_order_acquire) == count; });
  // Closed before the next run's part count is stored: see `work`.
  next_.store(run | part_mask, std::memory_order_release);
  taken_.store(false, std::memory_order_release);
}

void thread_pool::work(std::uint64_t run, std::size_t worker) noexcept {
  // If any of the three is already a later run's, then acquiring it also shows that `run` is
  // closed, and nothing is claimed. If a claim succeeds, all three are this run's.
  const std::uint32_t parts = parts_.load(std::memory_order_acquire);
  const part_fn f = part_.load(std::memory_order_acquire);
  void* const context = context_.load(std::memory_order_acquire);
  std::uint64_t next = next_.load(std::memory_order_acquire);
  while (run_of(next) == run && (next & part_mask) < parts)
    if (next_.compare_exchange_weak(next, next + 1, std::memory_order_acq_rel,
                                    std::memory_order_acquire)) {
      f(context, static_cast<std::size_t>(next & part_mask), worker);
      finished_.fetch_add(1, std::memory_order_release);
      next = next_.load(std::memory_order_acquire);
    }
}

void thread_pool::help(std::size_t worker) noexcept {
  std::uint64_t seen = 0;
  const auto news = [&] { return run_of(next_.load()) != seen || stopping_.load(); };
  for (;;) {
    if (!detail::spin_for(spin_, news)) {
      std::unique_lock guard(sleep_lock_);
      sleepers_.fetch_add(1);
      sleep_.wait(guard, news);
      sleepers_.fetch_sub(1);
    }
    if (stopping_.load())
      return;
    seen = run_of(next_.load());
    work(seen, worker);
  }
}

void thread_pool::wake(std::size_t count) noexcept {
  // The lock orders this after the check of a helper that is about to sleep.
  { const std::lock_guard guard(sleep_lock_); }
  for (std::size_t i = 0; i < count; ++i)
    sleep_.notify_one();
}

} // namespace pikv::gpu
