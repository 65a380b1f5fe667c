// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the CUDA runtime says about this machine.
#pragma once

#include <string>
#include <vector>

namespace pikv::tools {

/// Lines for `pikv version`: the toolkit, then one per device; never fails. A build without CUDA, a
/// machine without a driver and one without a device each say so.
std::vector<std::string> cuda_lines();

} // namespace pikv::tools
