// SPDX-License-Identifier: Apache-2.0
/// \file
/// The future of one request. It ends exactly once, with a value or a typed error, at the latest
/// when the request's deadline has passed (and a kernel that was already running has let go of the
/// request's buffers).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <pikv/messages/error.hpp>

namespace pikv {

namespace gpu {
class ticket;
}

namespace detail {

result<void> enqueue_wait(gpu::ticket* ticket, void* stream);
const std::uint32_t* status_of(const gpu::ticket* ticket) noexcept;

/// Shared by the completion and the request that fills it. Filled once; later fills are ignored.
template <class T>
class completion_state {
public:
  bool ready() const noexcept { return ready_.load(std::memory_order_acquire) != 0; }

  /// Returns false when it was filled before.
  bool fill(result<T> x) {
    std::vector<std::function<void(const result<T>&)>> callbacks;
    {
      std::lock_guard guard{mutex_};
      if (value_)
        return false;
      value_.emplace(std::move(x));
      callbacks.swap(callbacks_);
      ready_.store(1, std::memory_order_release);
    }
    ready_.notify_all();
    for (auto& f : callbacks)
      f(*value_);
    return true;
  }

  void then(std::function<void(const result<T>&)> f) {
    {
      std::lock_guard guard{mutex_};
      if (!value_) {
        callbacks_.push_back(std::move(f));
        return;
      }
    }
    f(*value_);
  }

  void wait() const noexcept {
    while (!ready())
      ready_.wait(0, std::memory_order_acquire);
  }

  /// Precondition: ready().
  const result<T>& get() const noexcept { return *value_; }

  /// Set before the completion is handed out; null: the call named no stream.
  std::shared_ptr<gpu::ticket> ticket;

private:
  std::atomic<int> ready_{0};
  mutable std::mutex mutex_;
  std::optional<result<T>> value_; // written once, before ready_
  std::vector<std::function<void(const result<T>&)>> callbacks_;
};

} // namespace detail

/// Handle of one request's outcome. Cheap to copy; any thread may use it. Dropping it does not
/// cancel the request: buffers must stay valid until the completion is ready.
template <class T>
class [[nodiscard]] completion {
public:
  explicit completion(std::shared_ptr<detail::completion_state<T>> s) : state_(std::move(s)) {}

  /// A completion that has already ended.
  static completion ended(result<T> x) {
    auto state = std::make_shared<detail::completion_state<T>>();
    state->fill(std::move(x));
    return completion{std::move(state)};
  }

  bool poll() const noexcept { return state_->ready(); }

  /// Blocks until the request has ended; its deadline bounds the wait. The reference lives as long
  /// as a copy of this completion; a temporary completion gives the result itself.
  const result<T>& wait() const& noexcept {
    state_->wait();
    return state_->get();
  }
  result<T> wait() && { return std::as_const(*this).wait(); }

  /// Spins instead of sleeping: the fastest way to an answer, at the price of a busy core.
  const result<T>& spin() const& noexcept {
    while (!state_->ready())
      pause();
    return state_->get();
  }
  result<T> spin() && { return std::as_const(*this).spin(); }

  /// Calls `f` once with the outcome: at once when it is there, else on the thread that ends the
  /// request. `f` must be short, must not block and must not throw.
  void then(std::function<void(const result<T>&)> f) const { state_->then(std::move(f)); }

  /// Lets the later work of a CUDA stream (cudaStream_t) wait until the request has ended, in success
  /// or failure, without blocking this thread (see docs/decisions.md for processes that load kernels
  /// lazily: there it blocks until the request's last kernel is enqueued; and for what must not come
  /// behind a wait). For calls that named a
  /// stream, else errc::invalid_argument. After a failure the stream goes on at once, but buffers
  /// stay in use until the completion is ready. For an append it blocks until the append has ended: an
  /// attend of the same sequences, which comes behind it anyway, is the better thing to wait for.
  result<void> enqueue_wait(void* stream) const {
    return detail::enqueue_wait(state_->ticket.get(), stream);
  }

  /// A word that the GPU may read behind `enqueue_wait`: 0, or the errc of the failure. It lives as
  /// long as a copy of this completion; null for calls that named no stream.
  const std::uint32_t* stream_status() const noexcept {
    return detail::status_of(state_->ticket.get());
  }

private:
  static void pause() noexcept;
  std::shared_ptr<detail::completion_state<T>> state_;
};

namespace detail {
void spin_pause() noexcept; // yields the core now and then: the work may need it
}

template <class T>
void completion<T>::pause() noexcept {
  detail::spin_pause();
}

} // namespace pikv
