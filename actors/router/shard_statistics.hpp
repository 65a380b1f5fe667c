// SPDX-License-Identifier: Apache-2.0
/// \file
/// What one lane has read of each shard lately, and what it missed there: the figures that
/// load-aware and cache-aware routings ask for. They fade with the rows that the lane answers, so
/// they do not depend on clocks. Plain data of one router; no locks.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include <pikv/messages/attend_messages.hpp>

namespace pikv {

class shard_statistics {
public:
  static constexpr double half_life = 4096; ///< (row, layer) pairs

  shard_statistics() = default;
  explicit shard_statistics(std::uint32_t shards) : load_(shards), misses_(shards) {}

  /// An attend of `rows` rows has ended.
  void add(std::uint64_t rows, std::span<const shard_use> uses) {
    const auto kept = static_cast<float>(std::exp2(-static_cast<double>(rows) / half_life));
    for (auto& x : load_)
      x *= kept;
    for (auto& x : misses_)
      x *= kept;
    for (const auto& x : uses)
      if (x.shard < load_.size()) {
        load_[x.shard] += static_cast<float>(x.read);
        misses_[x.shard] += static_cast<float>(x.gone);
      }
  }

  const std::vector<float>& load() const noexcept { return load_; }     ///< as route_query
  const std::vector<float>& misses() const noexcept { return misses_; } ///< as route_query

private:
  std::vector<float> load_;
  std::vector<float> misses_;
};

} // namespace pikv
