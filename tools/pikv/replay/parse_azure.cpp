// SPDX-License-Identifier: Apache-2.0
// Azure's LLM inference traces (2023): arrival, prompt tokens, generated tokens; no contents. What
// can be replayed is the memory of decoding: every request reads all its pages again and again
// until its answer is complete, and requests that run at the same time compete for room.
#include "trace.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace pikv::tools {

namespace {

struct arrival {
  double seconds = 0;
  std::uint32_t prompt = 0;
  std::uint32_t answer = 0;
};

template <class T>
bool number(std::string_view text, T& out) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), out);
  return code == std::errc{} && end == text.data() + text.size();
}

/// "2023-11-16 18:17:03.9799600": days are counted as if months had 31, which keeps the order.
bool seconds_of(std::string_view x, double& out) {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0;
  double second = 0;
  if (x.size() < 19 || !number(x.substr(0, 4), year) || !number(x.substr(5, 2), month)
      || !number(x.substr(8, 2), day) || !number(x.substr(11, 2), hour)
      || !number(x.substr(14, 2), minute) || !number(x.substr(17), second))
    return false;
  out = (((year * 12.0 + month) * 31 + day) * 24 + hour) * 3600 + minute * 60 + second;
  return true;
}

bool read_row(std::string_view row, arrival& out) {
  if (row.ends_with('\r'))
    row.remove_suffix(1);
  const auto a = row.find(',');
  const auto b = a == std::string_view::npos ? a : row.find(',', a + 1);
  return b != std::string_view::npos && seconds_of(row.substr(0, a), out.seconds)
         && number(row.substr(a + 1, b - a - 1), out.prompt)
         && number(row.substr(b + 1), out.answer);
}

/// One read of all pages of a request.
struct round {
  double seconds = 0;
  std::uint32_t request = 0;
  std::uint32_t tokens = 0; ///< prompt and what was generated so far
};

void add_rounds(const std::vector<arrival>& list, const trace_options& o, std::vector<round>& out) {
  for (std::uint32_t i = 0; i < list.size(); ++i)
    for (std::uint32_t t = 0; t <= list[i].answer; t += o.step_tokens)
      out.push_back({list[i].seconds + t * o.token_seconds, i, list[i].prompt + t});
  std::ranges::stable_sort(out, {}, &round::seconds);
}

} // namespace

result<trace> parse_azure(std::string_view text, const std::string& name,
                          const trace_options& options) {
  std::vector<arrival> list;
  for (std::size_t line = 1; !text.empty(); ++line) {
    const auto end = text.find('\n');
    const auto row = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    if (line == 1 || row.find_first_not_of(" \r") == std::string_view::npos)
      continue;
    if (!read_row(row, list.emplace_back()))
      return {errc::io_failed,
              fmt::format("{}:{}: expected TIMESTAMP,ContextTokens,GeneratedTokens", name, line)};
  }
  if (list.empty())
    return {errc::io_failed, fmt::format("{}: there is no request in it", name)};
  const auto blocks_of = [&](std::uint32_t tokens) {
    return std::max<std::uint32_t>(1, (tokens + options.block_tokens - 1) / options.block_tokens);
  };
  std::vector<std::uint32_t> first(list.size() + 1); // block id of each request's first page
  for (std::size_t i = 0; i < list.size(); ++i)
    first[i + 1] = first[i] + blocks_of(list[i].prompt + list[i].answer);
  std::vector<round> rounds;
  add_rounds(list, options, rounds);
  trace out;
  out.name = name;
  out.block_tokens = options.block_tokens;
  out.prefix = false;
  out.blocks = first.back();
  for (const auto& r : rounds) {
    const auto n = blocks_of(r.tokens);
    for (std::uint32_t p = 0; p < n; ++p) {
      out.block.push_back(first[r.request] + p);
      out.position.push_back(p);
    }
    out.begin.push_back(out.block.size());
    out.tag.push_back(tag_of_answer(list[r.request].answer));
    out.last_tokens.push_back(std::max(1U, r.tokens - (n - 1) * options.block_tokens));
  }
  return out;
}

} // namespace pikv::tools
