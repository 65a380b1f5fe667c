// SPDX-License-Identifier: Apache-2.0
// Mooncake's request traces and PiKV's page traces: one JSON object a line.
#include "trace.hpp"

#include <algorithm>
#include <limits>
#include <unordered_map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace pikv::tools {

namespace {

using json = nlohmann::json;

constexpr std::uint64_t most_blocks = std::numeric_limits<std::uint32_t>::max();

class reader {
public:
  reader(const std::string& name, const trace_options& options) : name_(name) {
    out_.name = name;
    out_.block_tokens = options.block_tokens;
  }

  result<trace> read(std::string_view text) {
    while (!text.empty()) {
      ++line_;
      const auto end = text.find('\n');
      const auto row = text.substr(0, end);
      text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
      if (row.find_first_not_of(" \r\t") == std::string_view::npos)
        continue;
      try {
        take(json::parse(row));
      } catch (const std::exception& e) {
        return {errc::io_failed, fmt::format("{}:{}: {}", name_, line_, e.what())};
      }
    }
    if (out_.requests() == 0)
      return {errc::io_failed, fmt::format("{}: there is no request in it", name_)};
    return std::move(out_);
  }

private:
  struct refused : std::runtime_error {
    using runtime_error::runtime_error;
  };

  void take(const json& x) {
    if (x.contains("format"))
      head(x);
    else if (x.contains("hash_ids"))
      mooncake(x);
    else if (x.contains("blocks"))
      pages(x);
    else
      throw refused("neither \"hash_ids\" (Mooncake) nor \"blocks\" (PiKV) is there");
  }

  void head(const json& x) {
    if (line_ != 1 || x.at("format") != "pikv-trace" || x.at("version") != 1)
      throw refused("expected {\"format\": \"pikv-trace\", \"version\": 1, ...} as the first line");
    out_.block_tokens = x.at("block_tokens").get<std::uint32_t>();
    if (out_.block_tokens == 0)
      throw refused("block_tokens is 0");
    out_.prefix = x.value("prefix", true);
    for (const auto& k : x.value("keys", json::array()))
      out_.keys.push_back({key_fact_norm | key_fact_likeness | key_fact_reach, k.at(0).get<float>(),
                           k.at(1).get<float>(), k.at(2).get<float>()});
  }

  void mooncake(const json& x) {
    const auto tokens = x.at("input_length").get<std::uint64_t>();
    const auto& ids = x.at("hash_ids");
    begin_request(ids, tag_of_answer(x.at("output_length").get<std::uint64_t>()));
    const auto before =
        (std::max<std::size_t>(ids.size(), 1) - 1) * std::uint64_t{out_.block_tokens};
    out_.last_tokens.push_back(static_cast<std::uint32_t>(std::min<std::uint64_t>(
        tokens > before ? tokens - before : out_.block_tokens, out_.block_tokens)));
  }

  void pages(const json& x) {
    const auto& ids = x.at("blocks");
    begin_request(ids, x.value("tag", std::uint16_t{0}));
    const auto last = x.value("last_tokens", out_.block_tokens);
    if (last == 0 || last > out_.block_tokens)
      throw refused(fmt::format("last_tokens is {}; allowed: 1 to {}", last, out_.block_tokens));
    out_.last_tokens.push_back(last);
    const auto first = out_.begin[out_.requests() - 1];
    if (x.contains("positions"))
      take_list(x["positions"], first, out_.position);
    add_facts(x, "mass", out_.mass);
    add_facts(x, "expected", out_.expected);
  }

  void begin_request(const json& ids, std::uint16_t tag) {
    std::vector<std::uint64_t> sorted;
    for (const auto& id : ids) {
      if (!id.is_number_unsigned()) // get() would wrap -1
        throw refused(fmt::format("{} is not a block: ids are whole numbers from 0", id.dump()));
      const auto raw = id.get<std::uint64_t>();
      sorted.push_back(raw);
      if (!out_.keys.empty() && raw >= out_.keys.size())
        throw refused(fmt::format("block {} has no entry in \"keys\"", raw));
      // With facts by block, ids index them; else they are names.
      const auto [at, is_new] =
          ids_.try_emplace(raw, out_.keys.empty() ? out_.blocks : static_cast<std::uint32_t>(raw));
      if (is_new && ++out_.blocks == most_blocks)
        throw refused("too many blocks");
      out_.position.push_back(static_cast<std::uint32_t>(sorted.size() - 1));
      out_.block.push_back(at->second);
    }
    std::ranges::sort(sorted);
    if (std::ranges::adjacent_find(sorted) != sorted.end())
      throw refused("a block is there twice in one request");
    if (!out_.keys.empty())
      out_.blocks = static_cast<std::uint32_t>(out_.keys.size());
    out_.begin.push_back(out_.block.size());
    out_.tag.push_back(tag);
  }

  template <class T>
  void take_list(const json& list, std::uint64_t first, std::vector<T>& into) {
    if (list.size() != out_.uses() - first)
      throw refused("a list is not as long as the request's blocks");
    for (std::size_t i = 0; i < list.size(); ++i)
      into[first + i] = list[i].get<T>();
  }

  /// All requests have them, or none.
  void add_facts(const json& x, const char* key, std::vector<double>& into) {
    const auto first = out_.begin[out_.requests() - 1];
    if (x.contains(key) ? into.size() != first : !into.empty())
      throw refused(fmt::format("\"{}\" must be in every request or in none", key));
    if (!x.contains(key))
      return;
    into.resize(out_.uses());
    take_list(x[key], first, into);
  }

  const std::string& name_;
  trace out_;
  std::unordered_map<std::uint64_t, std::uint32_t> ids_;
  std::size_t line_ = 0;
};

} // namespace

result<trace> parse_jsonl(std::string_view text, const std::string& name,
                          const trace_options& options) {
  return reader{name, options}.read(text);
}

} // namespace pikv::tools
