// SPDX-License-Identifier: Apache-2.0
#include <pikv/monitoring/log.hpp>

#include <cstdio>
#include <utility>

namespace pikv::monitoring {

namespace {

log_sink& sink() {
  static log_sink x;
  return x;
}

} // namespace

std::string_view to_string(severity x) noexcept {
  switch (x) {
  case severity::info: return "info";
  case severity::warning: return "warning";
  case severity::error: return "error";
  }
  return "unknown";
}

void log(severity x, std::string_view component, std::string_view text) noexcept {
  try {
    if (sink())
      return sink()(x, component, text);
  } catch (...) {
    return; // nobody to tell
  }
  const auto level = to_string(x);
  std::fprintf(stderr, "pikv %.*s %.*s: %.*s\n", static_cast<int>(level.size()), level.data(),
               static_cast<int>(component.size()), component.data(), static_cast<int>(text.size()),
               text.data());
}

void set_log_sink(log_sink x) { sink() = std::move(x); }

} // namespace pikv::monitoring
