// SPDX-License-Identifier: Apache-2.0
/// \file
/// What `pikv eval` measured of one row.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "demo/report.hpp"
#include "eval/prompt_run.hpp"

namespace pikv::tools {

struct needle_cell {
  std::uint32_t context = 0; ///< tokens of the prompt
  double depth = 0;          ///< of the fact, in [0, 1]
  recall_score score;
};

struct task_outcome {
  std::string task;
  recall_score score;
};

struct eval_outcome {
  row_outcome row; ///< its needle share is that of the longest context
  std::string group;
  std::string help;
  /// Bytes that attention reads of stored entries, as a share of what dense reads: the share of the
  /// entries read times the bytes of a kept entry over those of a dense one.
  double read_bytes_share = 1;
  std::vector<double> coverage_by_layer; ///< empty: not measured
  std::vector<needle_cell> needles;
  std::vector<task_outcome> tasks;
};

/// Its bits per byte against the row named "dense", as a share (0.01: one percent worse); none
/// where either was not measured.
std::optional<double> loss_of(const eval_outcome& x, std::span<const eval_outcome> all);

/// The task's score in a row; null where it was not measured.
const recall_score* score_of(const eval_outcome& x, std::string_view task);

/// The row named "dense"; null if there is none.
const eval_outcome* dense_of(std::span<const eval_outcome> all);

} // namespace pikv::tools
