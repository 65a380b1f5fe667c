// SPDX-License-Identifier: Apache-2.0
/// \file
/// Hit shares over capacities as an SVG picture.
#pragma once

#include <string>

#include "study.hpp"

namespace pikv::tools {

/// One line per policy, the infinite cache as a dashed one; capacities on a logarithmic axis.
std::string study_svg(const study& x);

} // namespace pikv::tools
