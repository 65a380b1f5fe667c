// SPDX-License-Identifier: Apache-2.0
/// \file
/// A cache of Mixtral-8x7B's geometry on many logical devices, filled with sequences of one length,
/// and the plan of the same.
#pragma once

#include <cstdint>
#include <string>

#include <pikv/actors/cache.hpp>

#include "plan_model.hpp"

namespace pikv::bench {

struct fill_options {
  std::string backend = "host";
  std::string placement = "stripe"; ///< or gate
  std::string selection = "none";   ///< or mass, quest: pages then carry summaries
  std::string stored = "bf16";      ///< form of settled pages
  std::uint32_t devices = 16;
  std::uint32_t layers = 32;
  std::uint32_t context = 131072; ///< tokens of each sequence
  std::uint32_t batch = 1;        ///< sequences
  std::uint32_t chunk = 2048;     ///< tokens of one append to one sequence
  std::uint32_t in_flight = 4;    ///< appends that are not waited for
  std::uint64_t memory_bytes = 0; ///< of a device; 0: from the plan
};

struct filled_cache {
  cache_usage usage;
  std::uint64_t memory_bytes = 0; ///< budget of a device
  double fill_seconds = 0;
};

tools::plan_request plan_of(const fill_options& o);

/// Appends everything, then reads every layer once, as a first decode step does. Ends the program
/// on an error.
filled_cache fill(const fill_options& o);

} // namespace pikv::bench
