// SPDX-License-Identifier: Apache-2.0
/// \file
/// Every metric that PiKV exports: the one table that registers them, documents them
/// (docs/metrics.md) and that dashboards and rules are checked against.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace pikv::monitoring {

enum class metric_type : std::uint8_t { counter, gauge, histogram };

std::string_view to_string(metric_type x) noexcept;

struct metric_info {
  std::string_view name; ///< base units; counters end in _total
  metric_type type = metric_type::counter;
  std::span<const std::string_view> labels; ///< label names, in the order of their values
  std::string_view help;                    ///< one sentence
  std::span<const double> buckets;          ///< upper bounds (inclusive), only for histograms
};

/// All metrics, sorted by component. Lives as long as the program.
std::span<const metric_info> catalog() noexcept;

/// The entry of that name, or null. A histogram is also found by the names of its series
/// (`_bucket`, `_sum`, `_count`).
const metric_info* find_metric(std::string_view name) noexcept;

/// The catalog as a Markdown page: docs/metrics.md.
std::string reference();

} // namespace pikv::monitoring
