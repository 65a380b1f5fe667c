// SPDX-License-Identifier: Apache-2.0
/// \file
/// Replays a trace against a cache of a given number of blocks under one scheduling policy: the
/// same policy objects and the same records (page_uses.hpp) as in a running cache, without data.
///
/// A request finds what is kept, then brings in all its blocks, and at its end blocks give way
/// until no more than the capacity are left; so a policy may refuse a new block. Blocks of equal
/// utility give way from the end of a prefix; pages, oldest position first as in a running cache.
/// What was dropped stays remembered for a while (records only), so that a block that returns keeps
/// its history: that of the last `history` evictions.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include <pikv/policies/scheduling/scheduling_policy.hpp>

#include "trace.hpp"

namespace pikv::tools {

struct replay_result {
  std::uint64_t uses = 0;
  std::uint64_t hits = 0; ///< of use: with prefix semantics, only if all before them were hits
  std::uint64_t kept = 0; ///< blocks that were there, whatever came before them
  std::uint64_t evicted = 0;
  std::uint64_t evicted_then_wanted = 0; ///< uses of blocks that had been there
  double seconds = 0;                    ///< of CPU time, without reading the trace

  double hit_share() const noexcept {
    return uses == 0 ? 0 : static_cast<double>(hits) / static_cast<double>(uses);
  }
};

/// `next`: next_uses(x). Precondition: `missing(x, policy)` is empty.
replay_result replay(const trace& x, std::span<const std::uint64_t> next,
                     const policies::scheduling_policy& policy, std::uint64_t capacity,
                     std::uint64_t history);

/// Why the policy cannot be replayed on this trace ("it has no attention masses"); empty: it can.
std::string missing(const trace& x, const std::string& name,
                    const policies::scheduling_policy& policy);

} // namespace pikv::tools
