// SPDX-License-Identifier: Apache-2.0
/// \file
/// Which entries are worth reading, before anything is left out: the share of the attention mass
/// outside of sinks and window that a selector gets which reads a given share of those entries.
///
/// Mass-weighted over layers, query heads and rows. Every KV head chooses for itself; a page's or
/// an entry's value for the head is the mean over its query heads. The model itself attends to
/// everything: recall says what a choice would find, not what it costs (that is measured with the
/// selection in force).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include <moe_engine/model.hpp>
#include <moe_engine/thread_team.hpp>
#include <pikv/messages/error.hpp>

#include "eval/study_head.hpp"

namespace pikv::tools {

inline constexpr std::array recall_shares{0.125, 0.25, 0.5}; ///< of the old entries

using recalls = std::array<double, recall_shares.size()>;

struct recall_row {
  std::string selector;
  recalls text{};   ///< the last 192 rows of each window
  recalls answer{}; ///< rows that have to give a digit of a fact from far back
};

struct recall_options {
  std::uint32_t windows = 8; ///< of the text; 0: none
  std::uint32_t needles = 8; ///< prompts; 0: none
  std::uint32_t context = 4096;
  std::uint64_t seed = 11;
};

/// Called after each window and prompt with how many of how many are done; false ends the run with
/// errc::cancelled.
using recall_callback = std::function<bool(std::uint32_t done, std::uint32_t of)>;

/// One row a selector: random entries; entries by the previous layer's gate (label: the token's
/// best expert; ranked by the query's gate for it; layer 0 has no such gate and is left out); pages
/// by Quest's bound, by estimated mass of first and of second order, by their true mass; and single
/// entries by their true mass. Errors: as the model's and the generators'.
result<std::vector<recall_row>>
measure_recall(const moe_engine::model& m, std::span<const std::uint8_t> text,
               const study_geometry& geometry, const recall_options& options,
               moe_engine::thread_team& team, const recall_callback& callback);

std::string recall_table(std::span<const recall_row> x);

/// [{selector, text: [..], answer: [..]}], shares in the order of recall_shares.
nlohmann::ordered_json recall_json(std::span<const recall_row> x);

} // namespace pikv::tools
