// SPDX-License-Identifier: Apache-2.0
/// \file
/// The known name that a mistyped one most likely stands for; for error messages. Header only.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pikv {

/// Levenshtein distance in bytes: insertions, deletions and replacements that turn `a` into `b`.
/// Two rows of the usual table: O(|a| |b|) time, O(|b|) memory.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    auto diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const auto replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

/// The candidate with the smallest edit distance to `name`; the earlier of equals; empty where
/// there are no candidates. Names longer than 64 bytes are compared by their first 64.
inline std::string nearest_name(std::string_view name, std::span<const std::string> candidates) {
  const auto best = std::ranges::min_element(
      candidates, {}, [&](const std::string& x) { return edit_distance(name.substr(0, 64), x); });
  return best == candidates.end() ? std::string{} : *best;
}

} // namespace pikv
