// SPDX-License-Identifier: Apache-2.0
#include <pikv/config/config.hpp>

#include <fstream>
#include <sstream>

#include <fmt/format.h>

namespace pikv::config {

result<settings> load(const std::string& path, const policy_catalog& catalog) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  // Reading nothing sets failbit on an empty file; a directory opens and then fails to read.
  if (in && in.peek() != std::ifstream::traits_type::eof())
    text << in.rdbuf();
  else if (!in.eof())
    return {errc::io_failed, fmt::format("{}: the file cannot be read", path)};
  if (in.bad() || text.bad())
    return {errc::io_failed, fmt::format("{}: the file cannot be read", path)};
  return parse(text.str(), catalog, path);
}

} // namespace pikv::config
