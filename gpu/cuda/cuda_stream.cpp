// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/cuda_stream.hpp>

#include <exception>
#include <utility>

#include <fmt/format.h>

#include <pikv/gpu/cuda/cuda_event.hpp>

namespace pikv::gpu::cuda {

namespace {

/// Calls a task; what it enqueued before it threw is still enqueued.
error attempt(const stream::task& work, launch_queue& queue, const char* label) {
  try {
    work(queue);
    return {};
  } catch (const std::exception& e) {
    return {errc::internal, fmt::format("the task {} threw: {}", label, e.what())};
  } catch (...) {
    return {errc::internal, fmt::format("the task {} threw something that is no std::exception",
                                        label)};
  }
}

} // namespace

cuda_stream::cuda_stream(std::shared_ptr<launch_queue> queue, completion_poller& poller,
                         host_stream::options x)
    : queue_(std::move(queue)), poller_(poller), spin_(x.spin),
      calls_(std::make_unique<host_stream>(queue_, std::move(x))) {}

cuda_stream::~cuda_stream() {
  calls_.reset(); // all calls have been made
  poller_.drain(*queue_);
}

void cuda_stream::enqueue(task work, completion done, const char* label) {
  auto x = std::make_shared<std::unique_ptr<task_in_flight>>(std::make_unique<task_in_flight>());
  (*x)->queue = queue_;
  (*x)->work = std::move(work);
  (*x)->done = std::move(done);
  (*x)->usage = usage_;
  calls_->enqueue(
      [x, label, spin = spin_, &poller = poller_](executor& e) {
        auto& t = **x;
        auto& queue = queue_of(e);
        queue.begin();
        t.begun = std::chrono::steady_clock::now();
        t.failed = attempt(t.work, queue, label);
        t.left = queue.close();
        poller.add(std::move(*x), spin);
      },
      {}, label);
}

event cuda_stream::record() {
  auto x = std::make_shared<cuda_event>();
  calls_->enqueue([x, queue = queue_](executor&) {
    queue->begin();
    x->record(queue->stream());
  });
  return event(std::move(x));
}

void cuda_stream::wait(const event& earlier) {
  if (auto x = std::dynamic_pointer_cast<cuda_event>(earlier.get()))
    calls_->enqueue([x, queue = queue_](executor&) {
      queue->begin();
      x->hold(queue->stream());
    });
  else
    calls_->wait(earlier);
}

void cuda_stream::synchronize() { record().get()->wait(); }

} // namespace pikv::gpu::cuda
