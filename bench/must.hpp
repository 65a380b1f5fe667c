// SPDX-License-Identifier: Apache-2.0
/// \file
/// How benchmarks end on an error: with a line and exit code 1, for there is nobody to report to.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <utility>

#include <fmt/format.h>

#include <pikv/messages/error.hpp>

namespace pikv::bench {

[[noreturn]] inline void stop(const error& e) {
  fmt::print(stderr, "{}\n", to_string(e));
  std::fflush(nullptr);
  std::_Exit(1); // streams and actors may still run
}

template <class T>
T must(result<T> x) {
  if (!x)
    stop(x.error());
  return std::move(*x);
}

} // namespace pikv::bench
