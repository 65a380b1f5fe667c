// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the rows of `pikv demo` measured, as one table and as JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include <pikv/messages/types.hpp>

namespace pikv::tools {

/// One row's measurements. What was not measured is empty.
struct row_outcome {
  std::string name;
  double kv_bytes = 0;   ///< per token: pages, scales, summaries, window, tables, fragmentation
  double kv_share = 0;   ///< of what the dense row keeps
  double read_share = 0; ///< of the entries that existed
  std::optional<double> bits_per_byte;
  std::optional<double> needle; ///< share of the needles found
  std::optional<double> coverage;
  double tokens_per_second = 0;
  entry_account entries; ///< (query row, KV head, entry) triples
};

/// One aligned table. The loss against dense is empty without a row named "dense".
std::string demo_table(std::span<const row_outcome> rows);

/// A JSON list of rows: {name, kv_bytes, kv_share, read_share, bits_per_byte, needle, coverage,
/// tokens_per_second, entries: {existing, read, not_routed, not_selected, evicted, lost}}. What was
/// not measured is null.
std::string demo_json(std::span<const row_outcome> rows);

/// {existing, read, not_routed, not_selected, evicted, lost}
nlohmann::ordered_json entries_json(const entry_account& x);

/// 1234567 -> "1.235M": four digits and a decimal prefix.
std::string count_text(std::uint64_t x);

} // namespace pikv::tools
