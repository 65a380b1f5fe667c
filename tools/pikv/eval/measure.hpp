// SPDX-License-Identifier: Apache-2.0
/// \file
/// Measures rows of `pikv eval`, one after another, over the same model, text and prompts.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "demo/run.hpp"
#include "eval/outcome.hpp"
#include "eval/rows.hpp"

namespace pikv::tools {

struct eval_options {
  std::uint32_t needles = 16; ///< in each context; spread over the depths
  std::vector<double> depths{0.05, 0.25, 0.5, 0.75};
  std::vector<std::uint32_t> contexts{4096}; ///< ascending
  std::vector<std::string> tasks;            ///< of recall_tasks()
  std::uint32_t task_prompts = 4;            ///< of each task, in the longest context
  prompt_run_options run;
  std::uint64_t seed = 11;
};

/// Prompts of all rows, made once.
struct eval_prompts {
  struct cell {
    std::uint32_t context = 0;
    double depth = 0;
    std::vector<prompt> prompts;
  };
  struct task {
    std::string name;
    std::vector<prompt> prompts;
  };
  std::vector<cell> needles;
  std::vector<task> tasks;
};

/// Errors: invalid_argument, as the generators; contexts longer than the model's.
result<eval_prompts> prompts_for(const demo_input& input, const eval_options& options);

/// Appends one outcome per row to `outcomes`. A row that fails (a configuration that its runtime
/// refuses, an error of its store) goes to `failed` with the reason and the others go on. A task
/// that the row "dense" was measured at and cannot do is left out of the rows after it. Blocks;
/// throws nothing. Errors: errc::cancelled when the callback said so.
result<void> measure_rows(std::span<const eval_row> rows, const demo_base& base,
                          const demo_input& input, const eval_prompts& prompts,
                          const eval_options& options, served_runtime& server,
                          const run_callback& callback, std::vector<eval_outcome>& outcomes,
                          std::vector<error>& failed);

} // namespace pikv::tools
