// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/host/host_stream.hpp>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <pikv/gpu/host/polite_spin.hpp>
#include <pikv/gpu/host/thread_name.hpp>
#include <pikv/gpu/trace.hpp>

namespace pikv::gpu {

namespace {

using clock = std::chrono::steady_clock;

class host_event final : public event::impl {
public:
  explicit host_event(std::chrono::microseconds spin) : spin_(spin) {}

  bool done() const noexcept override { return done_.load(std::memory_order_acquire); }

  void wait() noexcept override {
    if (detail::spin_for(spin_, [this] { return done(); }))
      return;
    std::unique_lock guard(lock_);
    changed_.wait(guard, [this] { return done(); });
  }

  void set() noexcept {
    {
      const std::lock_guard guard(lock_); // orders this after the check of a waiter about to sleep
      done_.store(true, std::memory_order_release);
    }
    changed_.notify_all();
  }

private:
  const std::chrono::microseconds spin_;
  std::atomic<bool> done_{false};
  std::mutex lock_;
  std::condition_variable changed_;
};

} // namespace

/// Exactly one of work, set and wait is there.
struct host_stream::item {
  task work;
  completion done;
  const char* label = "";
  std::shared_ptr<host_event> set;
  std::shared_ptr<event::impl> wait;
};

struct host_stream::state {
  state(std::shared_ptr<executor> w, options x)
      : workers(std::move(w)), settings(std::move(x)), track(settings.name) {}

  void push(item x);
  void loop();
  bool next_batch(std::vector<item>& batch);
  void run(item& x);
  result<void> attempt(item& x);

  const std::shared_ptr<executor> workers;
  const options settings;
  const trace::track track;
  std::atomic<std::int64_t> busy_ns{0};
  std::atomic<std::uint64_t> ended{0};

  // Counted after the lock is free, so that a spinning thread does not run into it.
  std::atomic<std::uint64_t> pushed{0};
  std::uint64_t popped = 0;  // the thread's own
  std::uint64_t started = 0; // tasks; the thread's own

  std::mutex lock; // guards the rest
  std::condition_variable filled;
  std::vector<item> items;
  bool sleeping = false;
  std::atomic<bool> stopping{false};
};

void host_stream::state::push(item x) {
  bool wake = false;
  {
    const std::lock_guard guard(lock);
    items.push_back(std::move(x));
    wake = sleeping;
  }
  pushed.fetch_add(1, std::memory_order_release);
  if (wake)
    filled.notify_one();
}

/// False when the stream is to end and nothing is left.
bool host_stream::state::next_batch(std::vector<item>& batch) {
  detail::spin_for(settings.spin, [this] {
    return static_cast<std::int64_t>(pushed.load(std::memory_order_acquire) - popped) > 0
           || stopping.load(std::memory_order_acquire);
  });
  std::unique_lock guard(lock);
  sleeping = true;
  filled.wait(guard, [this] { return !items.empty() || stopping.load(); });
  sleeping = false;
  batch.swap(items);
  popped += batch.size();
  return !batch.empty();
}

void host_stream::state::loop() {
  std::vector<item> batch;
  while (next_batch(batch)) {
    for (item& x : batch)
      run(x);
    batch.clear();
  }
}

void host_stream::state::run(item& x) {
  if (x.set) {
    x.set->set();
  } else if (x.wait) {
    const trace::scope span(track, "wait");
    x.wait->wait();
  } else {
    const auto begin = clock::now();
    const result<void> outcome = attempt(x);
    x.work = nullptr; // the task's blocks go before anybody hears that it ended
    const auto end = clock::now();
    track.add(x.label, begin, end);
    busy_ns.fetch_add(std::chrono::nanoseconds(end - begin).count(), std::memory_order_relaxed);
    ended.fetch_add(1, std::memory_order_relaxed);
    if (!x.done)
      return;
    try {
      x.done(outcome);
    } catch (...) {
      // A completion must not throw; there is nobody left to tell, and the process must live.
    }
    x.done = nullptr;
  }
}

result<void> host_stream::state::attempt(item& x) {
  ++started;
  try {
    if (settings.fault)
      if (error e = settings.fault(started); e.code != errc::ok)
        return e;
    x.work(*workers);
    return {};
  } catch (const std::exception& e) {
    return {errc::internal, fmt::format("a task of stream {} threw: {}", settings.name, e.what())};
  } catch (...) {
    return {errc::internal,
            fmt::format("a task of stream {} threw something that is no std::exception",
                        settings.name)};
  }
}

host_stream::host_stream(std::shared_ptr<executor> workers, options x)
    : state_(std::make_shared<state>(std::move(workers), std::move(x))), thread_([s = state_] {
        detail::name_this_thread(s->settings.name);
        s->loop();
      }) {}

host_stream::~host_stream() {
  {
    const std::lock_guard guard(state_->lock);
    state_->stopping.store(true, std::memory_order_release);
    state_->filled.notify_one();
  }
  if (thread_.get_id() == std::this_thread::get_id())
    thread_.detach();
  else
    thread_.join();
}

void host_stream::enqueue(task work, completion done, const char* label) {
  state_->push(
      {.work = std::move(work), .done = std::move(done), .label = label, .set = {}, .wait = {}});
}

event host_stream::record() {
  auto x = std::make_shared<host_event>(state_->settings.spin);
  state_->push({.work = {}, .done = {}, .label = "", .set = x, .wait = {}});
  return event(std::move(x));
}

void host_stream::wait(const event& earlier) {
  if (!earlier.done())
    state_->push({.work = {}, .done = {}, .label = "", .set = {}, .wait = earlier.get()});
}

stream_usage host_stream::usage() const noexcept {
  return {.busy = std::chrono::nanoseconds(state_->busy_ns.load(std::memory_order_relaxed)),
          .tasks = state_->ended.load(std::memory_order_relaxed)};
}

void host_stream::synchronize() {
  if (thread_.get_id() != std::this_thread::get_id())
    record().get()->wait();
}

} // namespace pikv::gpu
