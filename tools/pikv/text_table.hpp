// SPDX-License-Identifier: Apache-2.0
/// \file
/// Aligned plain-text tables and numbers for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pikv::tools {

enum class align : std::uint8_t { left, right };

struct column {
  std::string title;
  align side = align::left;
};

/// Rows of text, printed with two spaces between columns and a rule under the titles. Rows may be
/// shorter than the columns.
class text_table {
public:
  explicit text_table(std::vector<column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  std::string print(std::string_view indent = "") const;

private:
  std::vector<column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// 1234567 -> "1,234,567".
std::string grouped(std::uint64_t x);

/// Bytes in the unit that keeps three digits or more: "640 B", "12.5 KiB", "2.000 GiB".
std::string bytes_text(double bytes);

/// "5 ms", "30 s", "250 ns": the largest unit that leaves a whole number.
std::string duration_text(std::int64_t nanoseconds);

/// `text` in lines of at most `width` bytes, broken at spaces, each after `indent`.
std::string wrapped(std::string_view text, std::string_view indent, std::size_t width = 100);

} // namespace pikv::tools
