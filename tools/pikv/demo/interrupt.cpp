// SPDX-License-Identifier: Apache-2.0
#include "demo/interrupt.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>

namespace pikv::tools {

namespace {

constexpr std::array watched{SIGINT, SIGTERM};
std::atomic<bool> stop_asked{false};
static_assert(std::atomic<bool>::is_always_lock_free); // else a handler must not write it
std::array<struct sigaction, watched.size()> former;

extern "C" void ask_to_stop(int) { stop_asked.store(true, std::memory_order_relaxed); }

} // namespace

interrupt_guard::interrupt_guard() {
  stop_asked = false;
  struct sigaction action {};
  action.sa_handler = ask_to_stop;
  // The default action comes back with the first signal, so that a second one always works.
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < watched.size(); ++i)
    sigaction(watched[i], &action, &former[i]);
}

interrupt_guard::~interrupt_guard() {
  for (std::size_t i = 0; i < watched.size(); ++i)
    sigaction(watched[i], &former[i], nullptr);
}

bool interrupt_guard::asked() const noexcept { return stop_asked; }

void interrupt_guard::wait() const noexcept {
  while (!asked())
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
}

} // namespace pikv::tools
