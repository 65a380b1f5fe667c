// SPDX-License-Identifier: Apache-2.0
/// \file
/// How a thread polls for something that has no wake-up: closely at first, because an exchange of a
/// few pages takes tens of microseconds, then rarely enough to leave the core to others.
#pragma once

#include <chrono>
#include <thread>

namespace pikv::gpu::transport {

using time_point = std::chrono::steady_clock::time_point;

/// The moment `x` from now.
inline time_point in(std::chrono::steady_clock::duration x) {
  return std::chrono::steady_clock::now() + x;
}

class patience {
public:
  void pause() const {
    if (std::chrono::steady_clock::now() < close_until_)
      std::this_thread::yield();
    else
      std::this_thread::sleep_for(std::chrono::microseconds(50));
  }

private:
  const time_point close_until_ = in(std::chrono::milliseconds(1));
};

} // namespace pikv::gpu::transport
