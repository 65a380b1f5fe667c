// SPDX-License-Identifier: Apache-2.0
/// \file
/// What placements derive from the facts of a page.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include <pikv/policies/placement/placement_policy.hpp>

namespace pikv::policies {

/// The most frequent expert; the lower one of equals. Precondition: not empty. Counts by comparing
/// all pairs: pages have at most 64 tokens.
inline std::uint16_t majority_expert(std::span<const std::uint16_t> top_experts) noexcept {
  std::uint16_t best = 0;
  std::ptrdiff_t best_count = 0;
  for (const auto expert : top_experts) {
    const auto count = std::ranges::count(top_experts, expert);
    if (count > best_count || (count == best_count && expert < best)) {
      best = expert;
      best_count = count;
    }
  }
  return best;
}

/// (page + layer) mod shards: neighbours in a sequence lie on different shards, and so do the pages
/// of one index in neighbouring layers.
inline shard_id striped(const page_facts& page, std::uint32_t shards) noexcept {
  return {static_cast<std::uint32_t>((std::uint64_t{page.page} + page.layer) % shards)};
}

} // namespace pikv::policies
