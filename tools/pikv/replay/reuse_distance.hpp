// SPDX-License-Identifier: Apache-2.0
/// \file
/// Reuse distances: how many other blocks are used between two uses of a block.
#pragma once

#include <cstdint>
#include <vector>

#include "trace.hpp"

namespace pikv::tools {

struct reuse_histogram {
  /// bins[0] counts distance 0, bins[k] distances in [2^(k-1), 2^k).
  std::vector<std::uint64_t> bins;
  std::uint64_t first_uses = 0; ///< of a block that had not been used before
};

/// Distinct other blocks between two uses of a block, in order of the trace's uses: an LRU cache of
/// more blocks than that would have kept it (Mattson et al., IBM Systems Journal 1970). Takes
/// O(uses log uses).
reuse_histogram reuse_distances(const trace& x);

} // namespace pikv::tools
