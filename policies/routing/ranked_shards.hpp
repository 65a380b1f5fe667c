// SPDX-License-Identifier: Apache-2.0
/// \file
/// The shards that a row could read, best first: what the routings by a score of each shard share.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include <pikv/policies/routing/best_of.hpp>

namespace pikv::policies {

/// The most that cache.shards allows: routings take no memory from the heap.
inline constexpr std::size_t most_shards = 4096;

/// Values of the shards of one row, on the stack.
struct shard_values {
  std::array<float, most_shards> x; // not set: most rows have few shards
};

/// Shards that have pages, by descending score; lower indices first among equals and NaN last.
class ranked_shards {
public:
  /// `score(s)` is asked once for each shard that has pages. At most `best` are ranked.
  /// Precondition: shards <= most_shards.
  template <class Score>
  ranked_shards(std::size_t shards, std::span<const std::uint32_t> pages, Score&& score,
                std::size_t best = most_shards) noexcept {
    assert(shards <= most_shards);
    for (std::size_t s = 0; s < shards; ++s)
      if (has_pages(pages, s)) {
        const float x = score(s);
        scores_.x[s] = std::isnan(x) ? -std::numeric_limits<float>::infinity() : x;
        order_[count_++] = static_cast<std::uint16_t>(s);
      }
    const auto begin = order_.begin();
    const auto ranked = std::min(best, count_);
    std::partial_sort(begin, begin + static_cast<std::ptrdiff_t>(ranked),
                      begin + static_cast<std::ptrdiff_t>(count_), [this](auto a, auto b) {
                        return scores_.x[a] != scores_.x[b] ? scores_.x[a] > scores_.x[b] : a < b;
                      });
    count_ = ranked;
  }

  std::span<const std::uint16_t> order() const noexcept { return {order_.data(), count_}; }

private:
  shard_values scores_;
  std::array<std::uint16_t, most_shards> order_;
  std::size_t count_ = 0;
};

/// Routes the `k` best of the shards that have pages, and no others.
template <class Score>
void route_best(std::span<const std::uint32_t> pages, std::size_t k, Score&& score,
                std::span<std::uint8_t> in_route) noexcept {
  std::ranges::fill(in_route, std::uint8_t{0});
  const ranked_shards ranked{in_route.size(), pages, score, k};
  for (const auto s : ranked.order())
    in_route[s] = 1;
}

/// Without an estimate of each shard's mass the routings by score read every shard. True where that
/// was done.
inline bool route_all_unless_known(std::span<const float> shard_mass,
                                   std::span<std::uint8_t> in_route) noexcept {
  if (shard_mass.size() == in_route.size() && !in_route.empty())
    return false;
  std::ranges::fill(in_route, std::uint8_t{1});
  return true;
}

} // namespace pikv::policies
