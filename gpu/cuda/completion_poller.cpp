// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/completion_poller.hpp>

#include <algorithm>
#include <map>
#include <thread>
#include <utility>

#include <sys/prctl.h>

#include <fmt/format.h>

#include <pikv/gpu/cuda/status.hpp>
#include <pikv/gpu/host/polite_spin.hpp>
#include <pikv/gpu/host/thread_name.hpp>

namespace pikv::gpu::cuda {

namespace {

using namespace std::chrono_literals;

thread_local const completion_poller* this_threads = nullptr;

} // namespace

completion_poller& completion_poller::of(int gpu) {
  static std::mutex mutex;
  static std::map<int, completion_poller*> all; // never deleted: see the header
  const std::lock_guard guard{mutex};
  auto& x = all[gpu];
  if (x == nullptr) {
    std::unique_ptr<completion_poller> fresh{new completion_poller(gpu)};
    std::thread([p = fresh.get()] { p->loop(); }).detach();
    x = fresh.release();
  }
  return *x;
}

void completion_poller::add(task_ptr x, std::chrono::microseconds spin) {
  {
    const std::lock_guard guard{lock_};
    open_.push_back(x->queue.get());
    fresh_.push_back(std::move(x));
    wished_spin_ = spin;
  }
  if (added_.fetch_add(1, std::memory_order_release) == 0)
    changed_.notify_all();
}

void completion_poller::drain(const launch_queue& queue) {
  if (this_threads == this)
    return;
  std::unique_lock guard{lock_};
  changed_.wait(guard, [&] { return std::ranges::find(open_, &queue) == open_.end(); });
}

void completion_poller::take_in() {
  std::vector<task_ptr> fresh;
  {
    const std::lock_guard guard{lock_};
    fresh.swap(fresh_);
    added_.store(0, std::memory_order_relaxed);
    spin_ = wished_spin_;
  }
  for (auto& x : fresh) {
    auto it = std::ranges::find(queues_, x->queue.get(), &queue_tasks::queue);
    if (it == queues_.end()) {
      queues_.push_back({x->queue.get(), {}});
      it = std::prev(queues_.end());
    }
    it->tasks.push_back(std::move(x));
  }
}

void completion_poller::loop() {
  this_threads = this;
  detail::name_this_thread(fmt::format("pikv.poll{}", gpu_));
  prctl(PR_SET_TIMERSLACK, 1000UL); // short naps stay short
  cudaSetDevice(gpu_);
  auto last = steady::now(), checked = last;
  for (;;) {
    if (added_.load(std::memory_order_acquire) > 0) {
      take_in();
      last = steady::now();
    }
    if (queues_.empty()) {
      std::unique_lock guard{lock_};
      changed_.wait(guard, [this] { return !fresh_.empty(); });
      continue;
    }
    if (complete_ended()) {
      last = steady::now();
      continue;
    }
    const auto now = steady::now();
    if (now - checked > 2ms) { // a GPU that failed writes no words
      complete_broken();
      checked = now;
    }
    if (now - last > spin_)
      std::this_thread::sleep_for(10us);
    else
      detail::spin_for(1us, [this] { return added_.load(std::memory_order_relaxed) > 0; });
  }
}

/// True when a task had ended.
bool completion_poller::complete_ended() {
  bool any = false;
  for (auto& q : queues_)
    while (!q.tasks.empty()
           && (q.tasks.front()->left.number == 0 || q.queue->ended(q.tasks.front()->left.number))) {
      auto x = std::move(q.tasks.front());
      q.tasks.pop_front();
      const auto waited = x->left.number == 0 ? x->queue->wait() : result<void>{};
      complete(std::move(x), waited ? error{} : waited.error());
      any = true;
    }
  std::erase_if(queues_, [](const queue_tasks& q) { return q.tasks.empty(); });
  return any;
}

void completion_poller::complete_broken() {
  for (auto& q : queues_) {
    const auto trouble = q.queue->trouble();
    if (trouble.code == errc::ok)
      continue;
    for (auto& x : std::exchange(q.tasks, {}))
      complete(std::move(x), trouble);
  }
  std::erase_if(queues_, [](const queue_tasks& q) { return q.tasks.empty(); });
}

void completion_poller::complete(task_ptr x, const error& trouble) noexcept {
  auto e = std::move(x->failed);
  for (const error* more : {static_cast<const error*>(&x->left.failed), &trouble})
    if (e.code == errc::ok)
      e = *more;
  try {
    for (const auto& f : x->left.after)
      f();
    x->left.after.clear();
    x->left.kept.clear();
    x->usage->add(x->begun);
    x->work = nullptr; // the task's blocks go before anybody hears that it ended
    if (x->done)
      x->done(e.code == errc::ok ? result<void>{} : result<void>{e});
  } catch (...) {
    // A completion must not throw; there is nobody left to tell, and the process must live.
  }
  const auto* queue = x->queue.get();
  x.reset(); // perhaps the last handle of its stream
  const std::lock_guard guard{lock_};
  if (const auto it = std::ranges::find(open_, queue); it != open_.end())
    open_.erase(it);
  changed_.notify_all();
}

} // namespace pikv::gpu::cuda
