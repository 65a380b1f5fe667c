// SPDX-License-Identifier: Apache-2.0
#include "trace.hpp"

#include <bit>
#include <fstream>
#include <sstream>

#include <fmt/format.h>

#include <pikv/policies/scheduling/scheduling_policy.hpp>

namespace pikv::tools {

std::uint16_t tag_of_answer(std::uint64_t tokens) noexcept {
  return static_cast<std::uint16_t>(std::bit_width(tokens + 1) - 1);
}

result<trace> read_trace(const std::string& path, const trace_options& options) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (!in || !(text << in.rdbuf()))
    return {errc::io_failed, fmt::format("{}: the trace cannot be read, or is empty", path)};
  const auto content = text.str();
  if (content.starts_with('{'))
    return parse_jsonl(content, path, options);
  if (content.starts_with("TIMESTAMP,"))
    return parse_azure(content, path, options);
  return {
      errc::io_failed,
      fmt::format("{}: not a trace that is known: JSON lines (Mooncake, PiKV) begin with \"{{\", "
                  "Azure's CSV with \"TIMESTAMP,\"",
                  path)};
}

std::vector<std::uint64_t> next_uses(const trace& x) {
  std::vector<std::uint64_t> next(x.uses());
  std::vector<std::uint64_t> last(x.blocks, policies::page_record::never);
  for (std::size_t i = x.requests(); i-- > 0;)
    for (auto k = x.begin[i]; k < x.begin[i + 1]; ++k) {
      next[k] = last[x.block[k]];
      last[x.block[k]] = i;
    }
  return next;
}

} // namespace pikv::tools
