// SPDX-License-Identifier: Apache-2.0
/// \file
/// Runs rows of the demo, one after another, over the same model and text.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <moe_engine/evaluate.hpp>
#include <moe_engine/model.hpp>

#include <pikv/messages/error.hpp>

#include "demo/progress.hpp"
#include "demo/report.hpp"
#include "demo/rows.hpp"
#include "demo/served_runtime.hpp"

namespace pikv::tools {

/// What all rows of a run read.
struct demo_input {
  moe_engine::model model;
  std::vector<std::uint8_t> text;
  moe_engine::evaluation_options options;
};

/// Called during a row; false ends the run with errc::cancelled.
using run_callback = std::function<bool(const run_state&)>;

/// Appends one outcome per row to `outcomes`, also when a later row fails. Blocks; throws nothing.
/// Errors: those of the runtime, the store and the evaluation.
result<void> run_rows(std::span<const demo_row> rows, const demo_base& base,
                      const demo_input& input, served_runtime& server, const run_callback& callback,
                      std::vector<row_outcome>& outcomes);

} // namespace pikv::tools
