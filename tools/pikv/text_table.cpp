// SPDX-License-Identifier: Apache-2.0
#include "text_table.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include <fmt/format.h>

namespace pikv::tools {

namespace {

void print_cells(std::string& out, std::span<const std::string> cells,
                 std::span<const column> columns, std::span<const std::size_t> widths) {
  std::string line;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (i > 0)
      line += "  ";
    if (columns[i].side == align::right)
      line += fmt::format("{:>{}}", cells[i], widths[i]);
    else
      line += fmt::format("{:<{}}", cells[i], widths[i]);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  out += line;
  out += '\n';
}

} // namespace

std::string text_table::print(std::string_view indent) const {
  std::vector<std::string> titles;
  std::vector<std::size_t> widths;
  for (const auto& c : columns_) {
    titles.push_back(c.title);
    widths.push_back(c.title.size());
  }
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], row[i].size());
  std::vector<std::string> rule;
  for (const auto width : widths)
    rule.emplace_back(width, '-');

  std::string out{indent};
  print_cells(out, titles, columns_, widths);
  out += indent;
  print_cells(out, rule, columns_, widths);
  for (const auto& row : rows_) {
    out += indent;
    print_cells(out, row, columns_, widths);
  }
  return out;
}

std::string grouped(std::uint64_t x) {
  auto digits = fmt::format("{}", x);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<std::size_t>(at), 1, ',');
  return digits;
}

std::string bytes_text(double bytes) {
  constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < units.size()) {
    bytes /= 1024;
    ++unit;
  }
  if (unit == 0)
    return fmt::format("{:.0f} B", bytes);
  return fmt::format("{:.{}f} {}", bytes, bytes < 10 ? 3 : bytes < 100 ? 2 : 1, units[unit]);
}

std::string duration_text(std::int64_t nanoseconds) {
  constexpr std::array<std::pair<std::int64_t, const char*>, 4> units{
      {{1'000'000'000, "s"}, {1'000'000, "ms"}, {1'000, "us"}, {1, "ns"}}};
  for (const auto& [size, name] : units)
    if (nanoseconds != 0 && nanoseconds % size == 0)
      return fmt::format("{} {}", nanoseconds / size, name);
  return "0 s";
}

std::string wrapped(std::string_view text, std::string_view indent, std::size_t width) {
  std::string out;
  std::string line{indent};
  bool empty = true;
  while (!text.empty()) {
    const auto end = std::min(text.find(' '), text.size());
    const auto word = text.substr(0, end);
    if (!empty && line.size() + 1 + word.size() > width) {
      out += line + '\n';
      line = indent;
      empty = true;
    }
    if (!empty)
      line += ' ';
    line += word;
    empty = false;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out + line + '\n';
}

} // namespace pikv::tools
