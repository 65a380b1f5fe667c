// SPDX-License-Identifier: Apache-2.0
#include <moe_engine/files.hpp>

#include <fstream>
#include <iterator>

#include <fmt/format.h>

namespace pikv::moe_engine {

result<std::vector<std::uint8_t>> read_bytes(const std::string& path) {
  std::ifstream in{path, std::ios::binary | std::ios::ate};
  const auto size = in ? static_cast<std::streamoff>(in.tellg()) : -1;
  if (size < 0)
    return {errc::io_failed, fmt::format("{}: cannot be opened; does it exist?", path)};
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(size));
  in.seekg(0);
  in.read(reinterpret_cast<char*>(bytes.data()), size);
  if (!in)
    return {errc::io_failed, fmt::format("{}: cannot be read to its end", path)};
  return bytes;
}

} // namespace pikv::moe_engine
