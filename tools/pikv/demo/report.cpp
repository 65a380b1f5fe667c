// SPDX-License-Identifier: Apache-2.0
#include "demo/report.hpp"

#include "text_table.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace pikv::tools {

namespace {

constexpr auto unknown = "-";

std::string percent(double share, int digits) {
  return fmt::format("{:.{}f}%", 100 * share, digits);
}

std::string optional_text(const std::optional<double>& x, int digits) {
  return x ? fmt::format("{:.{}f}", *x, digits) : unknown;
}

std::string loss_text(const row_outcome& row, const std::optional<double>& dense) {
  if (!row.bits_per_byte || !dense || *dense <= 0)
    return unknown;
  return fmt::format("{:+.2f}%", 100 * (*row.bits_per_byte / *dense - 1));
}

std::optional<double> dense_bits(std::span<const row_outcome> rows) {
  const auto found = std::ranges::find(rows, "dense", &row_outcome::name);
  return found == rows.end() ? std::nullopt : found->bits_per_byte;
}

nlohmann::ordered_json value_or_null(const std::optional<double>& x) {
  return x ? nlohmann::ordered_json(*x) : nlohmann::ordered_json(nullptr);
}

} // namespace

nlohmann::ordered_json entries_json(const entry_account& x) {
  return {{"existing", x.existing},         {"read", x.read},       {"not_routed", x.not_routed},
          {"not_selected", x.not_selected}, {"evicted", x.evicted}, {"lost", x.lost}};
}

std::string count_text(std::uint64_t x) {
  constexpr std::array prefixes{"", "k", "M", "G", "T", "P", "E"};
  if (x < 10000)
    return fmt::format("{}", x);
  auto value = static_cast<double>(x);
  std::size_t prefix = 0;
  while (value >= 999.95) {
    value /= 1000;
    ++prefix;
  }
  return fmt::format("{:.{}f}{}", value,
                     value < 9.9995   ? 3
                     : value < 99.995 ? 2
                                      : 1,
                     prefixes[prefix]);
}

std::string demo_table(std::span<const row_outcome> rows) {
  const auto right = [](const char* title) { return column{title, align::right}; };
  text_table table{{{"row"},
                    right("KV B/token"),
                    right("of dense"),
                    right("read"),
                    right("bits/byte"),
                    right("vs dense"),
                    right("needle"),
                    right("coverage"),
                    right("tokens/s"),
                    right("existing"),
                    right("read"),
                    right("not routed"),
                    right("not selected"),
                    right("evicted"),
                    right("lost"),
                    {"adds up"}}};
  const auto dense = dense_bits(rows);
  for (const auto& row : rows) {
    const auto& e = row.entries;
    table.add({row.name, fmt::format("{:.0f}", row.kv_bytes), percent(row.kv_share, 1),
               percent(row.read_share, 1), optional_text(row.bits_per_byte, 4),
               loss_text(row, dense), row.needle ? percent(*row.needle, 1) : unknown,
               optional_text(row.coverage, 4), fmt::format("{:.0f}", row.tokens_per_second),
               count_text(e.existing), count_text(e.read), count_text(e.not_routed),
               count_text(e.not_selected), count_text(e.evicted), count_text(e.lost),
               e.adds_up() ? "yes" : "NO"});
  }
  return table.print();
}

std::string demo_json(std::span<const row_outcome> rows) {
  auto list = nlohmann::ordered_json::array();
  for (const auto& row : rows)
    list.push_back({{"name", row.name},
                    {"kv_bytes", row.kv_bytes},
                    {"kv_share", row.kv_share},
                    {"read_share", row.read_share},
                    {"bits_per_byte", value_or_null(row.bits_per_byte)},
                    {"needle", value_or_null(row.needle)},
                    {"coverage", value_or_null(row.coverage)},
                    {"tokens_per_second", row.tokens_per_second},
                    {"entries", entries_json(row.entries)}});
  return list.dump(2) + '\n';
}

} // namespace pikv::tools
