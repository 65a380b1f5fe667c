// SPDX-License-Identifier: Apache-2.0
/// \file
/// Ctrl-C as a flag.
#pragma once

namespace pikv::tools {

/// While one lives, the first SIGINT or SIGTERM sets a flag; a second one ends the process at once.
/// One at a time in a process.
class interrupt_guard {
public:
  interrupt_guard();
  ~interrupt_guard(); ///< the former handlers are back
  interrupt_guard(const interrupt_guard&) = delete;
  interrupt_guard& operator=(const interrupt_guard&) = delete;

  bool asked() const noexcept;
  void wait() const noexcept; ///< until asked()
};

} // namespace pikv::tools
