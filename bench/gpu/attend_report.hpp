// SPDX-License-Identifier: Apache-2.0
/// \file
/// What gpu_attend_bench measured, as a table and as JSON.
#pragma once

#include <string>
#include <vector>

#include <pikv/messages/types.hpp>

namespace pikv::bench {

/// Times in microseconds of one launch.
struct measurement {
  std::string shape;
  form stored;
  double us;
  double roof_us;      ///< a plain read of as many bytes in one run
  double scattered_us; ///< a plain read of the same pages where they lie; 0: not measured
  double bytes;
};

/// How often faster than bf16 at the same shape; 0 where that was not measured.
double over_bf16(const std::vector<measurement>& all, const measurement& x);

void print(const measurement& x, double over_bf16);

void write_json(const char* path, const std::vector<measurement>& results, const char* gpu,
                int driver);

} // namespace pikv::bench
