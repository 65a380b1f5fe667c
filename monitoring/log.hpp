// SPDX-License-Identifier: Apache-2.0
/// \file
/// Lines for the operator: few, for what a metric alone would not explain. By default they go to
/// stderr.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace pikv::monitoring {

enum class severity : std::uint8_t { info, warning, error };

std::string_view to_string(severity x) noexcept;

/// One line. Thread-safe; does not throw. `component`: who says it, such as "router".
void log(severity x, std::string_view component, std::string_view text) noexcept;

using log_sink = std::function<void(severity, std::string_view component, std::string_view text)>;

/// Where lines go from now on; empty: to stderr. Not while others may log.
void set_log_sink(log_sink sink);

} // namespace pikv::monitoring
