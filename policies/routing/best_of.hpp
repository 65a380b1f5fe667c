// SPDX-License-Identifier: Apache-2.0
/// \file
/// Walking values from the largest to the smallest without memory or a sort; routings take few of
/// few.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

namespace pikv::policies {

/// Index of the value that follows `previous` in descending order, lower indices first among equals
/// and NaN counted as -inf; `values.size()` as `previous` begins the walk, and as the answer ends
/// it.
inline std::size_t next_largest(std::span<const float> values, std::size_t previous) noexcept {
  const auto at = [&](std::size_t i) {
    return std::isnan(values[i]) ? -std::numeric_limits<float>::infinity() : values[i];
  };
  auto best = values.size();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool follows = previous == values.size() || at(i) < at(previous)
                         || (at(i) == at(previous) && i > previous);
    if (follows && (best == values.size() || at(i) > at(best)))
      best = i;
  }
  return best;
}

/// True where the shard has pages to read; unknown page counts (an empty span) count as pages.
inline bool has_pages(std::span<const std::uint32_t> shard_pages, std::size_t shard) noexcept {
  return shard_pages.empty() || shard_pages[shard] > 0;
}

} // namespace pikv::policies
