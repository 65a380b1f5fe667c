// SPDX-License-Identifier: Apache-2.0
/// \file
/// The order of one attend's work on several devices that see each other's events: who waits for
/// whom is decided on the devices, and no host thread waits for their results. It belongs to the
/// request; owners add to it from their threads, tasks read it from their streams'. Thread-safe.
///
/// Nothing can wait in a circle: an owner adds an event when its work is in the stream already, and
/// a task that waits for it is enqueued after that.
#pragma once

#include <mutex>
#include <utility>
#include <vector>

#include <pikv/gpu/device.hpp>
#include <pikv/messages/error.hpp>

namespace pikv {

class device_order {
public:
  enum class step : std::uint8_t {
    shared,  ///< a device has shown the others its pages
    attended ///< its partial is there
  };

  void add(step s, gpu::event x) {
    const std::lock_guard guard{mutex_};
    events_[static_cast<std::size_t>(s)].push_back(std::move(x));
  }
  /// Lets the later work of `stream` wait for all that was added.
  void wait(step s, gpu::stream& stream) const {
    const std::lock_guard guard{mutex_};
    for (const auto& x : events_[static_cast<std::size_t>(s)])
      stream.wait(x);
  }

  /// A device's work failed where the others count on it: to be called inside its task.
  void fail(const error& e) {
    const std::lock_guard guard{mutex_};
    if (failed_.code == errc::ok)
      failed_ = e;
  }
  /// The first failure; to be read inside tasks behind `wait`.
  error failed() const {
    const std::lock_guard guard{mutex_};
    return failed_;
  }

private:
  mutable std::mutex mutex_;
  std::vector<gpu::event> events_[2];
  error failed_;
};

} // namespace pikv
