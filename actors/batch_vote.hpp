// SPDX-License-Identifier: Apache-2.0
/// \file
/// One append whose parts are in several lanes: all of them happen or none. Each lane's router does
/// its part, casts a vote and waits; when all have agreed, or one has not, each hears the verdict
/// and keeps its part or takes it back. Until then a lane fences its part, so no later request sees
/// entries that may still go. All lanes hear of such appends in one order (cache_context), so two
/// of them never wait for each other.
#pragma once

#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include <pikv/messages/error.hpp>
#include <pikv/messages/types.hpp>

namespace pikv {

/// Shared by the lanes of one append. Thread-safe.
class batch_vote {
public:
  enum class verdict : std::uint8_t { open, keep, take_back };

  explicit batch_vote(std::size_t lanes) : missing_(lanes) {}

  /// A lane that took part is told through `tell` when the verdict falls.
  void invite(std::function<void()> tell) {
    std::unique_lock guard{mutex_};
    if (verdict_ == verdict::open) {
      tell_.push_back(std::move(tell));
      return;
    }
    guard.unlock();
    tell();
  }

  /// One lane has done its part; cast once per lane. The last one decides.
  void agree() {
    std::unique_lock guard{mutex_};
    if (verdict_ == verdict::open && --missing_ == 0)
      decide(verdict::keep, guard);
  }

  /// A lane has failed, or its request has ended: nothing is kept, unless that was settled before.
  void refuse(const error& why) {
    std::unique_lock guard{mutex_};
    if (verdict_ != verdict::open)
      return;
    why_ = why;
    decide(verdict::take_back, guard);
  }

  verdict now() const {
    std::lock_guard guard{mutex_};
    return verdict_;
  }

  /// Why it was refused; code ok unless the verdict is take_back.
  error why() const {
    std::lock_guard guard{mutex_};
    return why_;
  }

private:
  void decide(verdict x, std::unique_lock<std::mutex>& guard) {
    verdict_ = x;
    auto tell = std::exchange(tell_, {});
    guard.unlock();
    for (auto& f : tell)
      f();
  }

  mutable std::mutex mutex_;
  std::size_t missing_;
  verdict verdict_ = verdict::open;
  error why_;
  std::vector<std::function<void()>> tell_;
};

} // namespace pikv
