// SPDX-License-Identifier: Apache-2.0
/// \file
/// Every scheduling policy on one trace at several capacities, between two yardsticks: an infinite
/// cache, and Belady's optimum of the same size.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <pikv/messages/options.hpp>

#include "reuse_distance.hpp"
#include "simulate.hpp"

namespace pikv::tools {

struct study_options {
  std::vector<std::string> policies;     ///< empty: all
  std::vector<std::uint64_t> capacities; ///< blocks; empty: 1/32 to 1/2 of the trace's blocks
  double history = 8;                    ///< records of dropped blocks, in capacities
};

struct study_row {
  std::string policy;
  std::uint64_t capacity = 0;
  replay_result result;
  /// (hits - lru) / (belady - lru); empty where the two are equal.
  std::optional<double> gap_closed;
};

struct skipped_policy {
  std::string policy;
  std::string why;
};

struct study {
  std::string name;
  std::uint64_t requests = 0, uses = 0, blocks = 0;
  bool prefix = true;
  replay_result infinite;
  std::vector<std::uint64_t> capacities;
  std::vector<study_row> rows; ///< by policy in the table's order, then by capacity
  std::vector<skipped_policy> skipped;
  reuse_histogram reuse;
};

/// errc::unknown_policy for a name that is not there.
result<study> run_study(const trace& x, const study_options& options);

std::string study_text(const study& x);
std::string study_csv(const study& x);
std::string study_json(const study& x);

} // namespace pikv::tools
