// SPDX-License-Identifier: Apache-2.0
#include "eval/files.hpp"

#include <fstream>

#include <fmt/format.h>

namespace pikv::tools {

result<void> write_file(const std::string& path, std::string_view text) {
  std::ofstream file{path, std::ios::trunc | std::ios::binary};
  file << text;
  file.close();
  if (!file)
    return {errc::io_failed, fmt::format("cannot write {}", path)};
  return {};
}

result<void> check_writable(const std::string& path) {
  if (path.empty())
    return {};
  const std::ofstream file{path, std::ios::app};
  if (!file)
    return {errc::io_failed, fmt::format("cannot write {}", path)};
  return {};
}

} // namespace pikv::tools
