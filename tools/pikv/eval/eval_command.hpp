// SPDX-License-Identifier: Apache-2.0
/// \file
/// What `pikv eval` accepts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "eval/measure.hpp"

namespace pikv::tools {

struct eval_command {
  std::string model, text, csv, json, plots;
  std::vector<std::string> only;
  std::vector<double> budgets{0.5, 0.25, 0.125};
  std::string stored = "f16";
  demo_base base;
  eval_options eval;
  std::uint32_t windows = 2;
  bool routing = false;
  bool forms = false;
  bool list = false;
};

/// Options of the command, with their help; `o` outlives the parsing.
void add_options(CLI::App& sub, eval_command& o);

} // namespace pikv::tools
