// SPDX-License-Identifier: Apache-2.0
/// \file
/// Reads the Prometheus text exposition format, strictly enough to catch a malformed one.
#pragma once

#include <cstdlib>
#include <map>
#include <set>
#include <sstream>
#include <string>

namespace pikv::test {

struct exposition {
  std::map<std::string, double> series;     ///< `name{label="x"}` as printed
  std::map<std::string, std::string> types; ///< family name to its type
  std::map<std::string, std::string> helps; ///< family name to its help text
  std::set<std::string> malformed;          ///< lines that could not be read or came twice

  /// The value of a series as printed, or NaN.
  double operator[](const std::string& name) const {
    const auto it = series.find(name);
    return it == series.end() ? std::strtod("nan", nullptr) : it->second;
  }
};

inline exposition read_exposition(const std::string& text) {
  exposition out;
  std::istringstream lines{text};
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# TYPE ") || line.starts_with("# HELP ")) {
      const auto space = line.find(' ', 7);
      auto& into = line[2] == 'T' ? out.types : out.helps;
      const auto name = line.substr(7, space - 7);
      if (space == std::string::npos || !into.emplace(name, line.substr(space + 1)).second)
        out.malformed.insert(line);
      continue;
    }
    const auto space = line.rfind(' ');
    char* end = nullptr;
    const auto value = space == std::string::npos ? 0 : std::strtod(line.c_str() + space, &end);
    if (!end || *end != '\0' || !out.series.emplace(line.substr(0, space), value).second)
      out.malformed.insert(line);
  }
  return out;
}

} // namespace pikv::test
