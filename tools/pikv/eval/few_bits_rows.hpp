// SPDX-License-Identifier: Apache-2.0
/// \file
/// Rows of `pikv eval` for the forms of few bits at other settings than their own: mixed widths,
/// and larger pages, in which more tokens share a scale of K. Group "compression".
#pragma once

#include <string>
#include <vector>

#include "eval/rows.hpp"

namespace pikv::tools {

/// `evicting_with`: the scheduling policy of rows that keep a share of the entries.
std::vector<eval_row> few_bits_rows(const std::string& evicting_with);

} // namespace pikv::tools
