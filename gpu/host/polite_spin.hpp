// SPDX-License-Identifier: Apache-2.0
/// \file
/// Busy waiting that gives way: a thread that spins hands its core over every microsecond or so, so
/// that more spinning threads than cores still answer each other within a few microseconds.
#pragma once

#include <chrono>

#include <sched.h>

namespace pikv::gpu::detail {

inline void cpu_pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

/// Checks between two hand-overs of the core: about 0.5 to 1 us of pauses.
inline constexpr int checks_per_yield = 16;

/// True as soon as `ready()` is; false when `limit` has passed. A limit of 0 checks once.
template <class Ready>
bool spin_for(std::chrono::nanoseconds limit, Ready&& ready) noexcept {
  if (ready())
    return true;
  if (limit.count() <= 0)
    return false;
  const auto end = std::chrono::steady_clock::now() + limit;
  do {
    for (int i = 0; i < checks_per_yield; ++i) {
      cpu_pause();
      if (ready())
        return true;
    }
    sched_yield();
  } while (std::chrono::steady_clock::now() < end);
  return ready();
}

/// Returns when `ready()` is true; for waits that another running thread is about to end.
template <class Ready>
void spin_until(Ready&& ready) noexcept {
  while (!ready()) {
    for (int i = 0; i < checks_per_yield; ++i) {
      cpu_pause();
      if (ready())
        return;
    }
    sched_yield();
  }
}

} // namespace pikv::gpu::detail
