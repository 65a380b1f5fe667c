// SPDX-License-Identifier: Apache-2.0
/// \file
/// Device work that an actor has started and not heard of yet. Each job ends exactly once: with its
/// `ok` or `fail` continuation inside the actor, or with `fail` when the actor goes down first.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>

#include <caf/actor_addr.hpp>
#include <caf/actor_cast.hpp>
#include <caf/send.hpp>
#include <caf/typed_response_promise.hpp>

#include <pikv/gpu/device.hpp>
#include <pikv/messages/caf_error.hpp>
#include <pikv/messages/protocol.hpp>

namespace pikv {

/// A promise that is kept in any case: when the last copy goes undelivered, as the continuations of
/// an actor that goes down do, the asker hears errc::actor_down. CAF alone would let it wait for
/// its time-out. Copies share the promise; used and dropped inside its actor only.
template <class T>
class owed_answer {
public:
  owed_answer() = default;
  explicit owed_answer(caf::typed_response_promise<T> p)
      : debt_(std::make_shared<debt>(std::move(p))) {}

  template <class Answer>
  void deliver(Answer&& x) {
    if (!std::exchange(debt_->paid, true))
      debt_->promise.deliver(std::forward<Answer>(x));
  }

private:
  struct debt {
    explicit debt(caf::typed_response_promise<T> p) : promise(std::move(p)) {}
    debt(const debt&) = delete;
    debt& operator=(const debt&) = delete;
    ~debt() {
      if (!paid)
        promise.deliver(
            to_caf({errc::actor_down, "the actor that worked on the request went down; retry"}));
    }
    caf::typed_response_promise<T> promise;
    bool paid = false;
  };
  std::shared_ptr<debt> debt_;
};

/// How a task, on its stream's thread, says what went wrong.
using task_status = std::shared_ptr<error>;

class job_list {
public:
  using work = std::function<void(gpu::executor&, error& status)>;
  using ok_continuation = std::function<void()>;
  using fail_continuation = std::function<void(const error&)>;

  job_list() = default;
  job_list(const job_list&) = delete;
  job_list& operator=(const job_list&) = delete;
  ~job_list() {
    fail_all({errc::actor_down, "the actor that worked on the request went down; retry"});
  }

  /// Enqueues `task`, called `label` in traces (gpu/device.hpp). The backend sends `stream_done` to the
  /// actor, which calls `finish`.
  /// `fail` may run while the actor's state is being destroyed: it only delivers promises.
  template <class Actor>
  void launch(Actor* self, gpu::stream& stream, const char* label, work task, ok_continuation ok,
              fail_continuation fail) {
    auto id = next_++;
    jobs_.emplace(id, job{std::move(ok), std::move(fail)});
    auto status = std::make_shared<error>();
    // Weak: a stream must not keep an actor alive, and a dead actor hears nothing.
    caf::actor_addr address = self->address();
    stream.enqueue([status, task = std::move(task)](gpu::executor& x) { task(x, *status); },
                   [status, address, id](const result<void>& r) {
                     auto strong = caf::actor_cast<caf::strong_actor_ptr>(address);
                     if (!strong)
                       return;
                     auto& e = r.ok() ? *status : r.error();
                     caf::anon_send(caf::actor_cast<typename Actor::actor_hdl>(strong),
                                    stream_done{id, e.code, e.what});
                   },
                   label);
  }

  void finish(const stream_done& x) {
    auto node = jobs_.extract(x.job);
    if (!node)
      return;
    if (x.code == errc::ok)
      node.mapped().ok();
    else
      node.mapped().fail({x.code, x.what});
  }

  std::size_t size() const noexcept { return jobs_.size(); }

private:
  struct job {
    ok_continuation ok;
    fail_continuation fail;
  };

  void fail_all(const error& why) {
    auto jobs = std::move(jobs_);
    for (auto& [id, x] : jobs)
      x.fail(why);
  }

  std::uint64_t next_ = 1;
  std::unordered_map<std::uint64_t, job> jobs_;
};

} // namespace pikv
