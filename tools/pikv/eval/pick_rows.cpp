// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>

#include <fmt/format.h>

#include <pikv/messages/nearest_name.hpp>

#include "eval/rows.hpp"

namespace pikv::tools {

result<std::vector<eval_row>> pick_rows(std::vector<eval_row> rows,
                                        std::span<const std::string> names) {
  std::vector<std::string> known;
  for (const auto& row : rows) {
    known.push_back(row.name);
    if (std::ranges::find(known, row.group) == known.end())
      known.push_back(row.group);
  }
  for (const auto& name : names)
    if (std::ranges::find(known, name) == known.end())
      return {
          errc::invalid_argument,
          fmt::format("there is no row or group \"{}\"; did you mean \"{}\"? (pikv eval --list)",
                      name, nearest_name(name, known))};
  const std::set<std::string, std::less<>> wanted{names.begin(), names.end()};
  std::erase_if(rows, [&](const eval_row& row) {
    return wanted.empty() ? row.group == "study"
                          : !wanted.contains(row.name) && !wanted.contains(row.group);
  });
  return rows;
}

config::settings settings_of(const eval_row& row, const demo_base& base) {
  const demo_row edited{row.name, row.help, false, [&](config::settings& x, const demo_base&) {
                          if (row.edit)
                            row.edit(x);
                        }};
  return settings_of(edited, base);
}

} // namespace pikv::tools
