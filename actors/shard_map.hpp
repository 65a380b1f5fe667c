// SPDX-License-Identifier: Apache-2.0
/// \file
/// Which device owns each shard at this moment. Dealt out in turn at first; a placement that
/// rebalances changes it while the cache runs. New pages go to the owner of their shard, old ones
/// follow (router/rebalance.cpp), and what a page's device is stays written where the page is
/// known.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include <pikv/messages/types.hpp>
#include <pikv/policies/placement/balance.hpp>
#include <pikv/policies/placement/placement_policy.hpp>

namespace pikv {

/// Thread-safe after `start`.
class shard_map {
public:
  void start(std::uint32_t shards, std::uint32_t devices, std::uint32_t lanes) {
    owners_ = std::vector<std::atomic<std::uint32_t>>(shards);
    for (std::uint32_t s = 0; s < shards; ++s)
      owners_[s] = policies::owner_of({s}, devices).value;
    loads_.assign(lanes, std::vector<double>(shards));
    devices_ = devices;
  }

  device_id owner(shard_id x) const noexcept {
    return {owners_[x.value].load(std::memory_order_relaxed)};
  }
  /// Grows with every change of an owner.
  std::uint64_t version() const noexcept { return version_.load(std::memory_order_acquire); }

  /// What a lane has read of each shard lately.
  void publish(lane_id lane, std::span<const float> load) {
    std::lock_guard guard{mutex_};
    loads_[lane.value].assign(load.begin(), load.end());
  }

  /// Gives shards other owners where the load of the busiest device is beyond `tolerated` times the
  /// mean (policies::rebalance).
  void rebalance(double tolerated) {
    std::lock_guard guard{mutex_};
    std::vector<double> load(owners_.size());
    for (const auto& lane : loads_)
      for (std::size_t s = 0; s < load.size(); ++s)
        load[s] += lane[s];
    std::vector<std::uint32_t> now(owners_.begin(), owners_.end());
    const auto next = policies::rebalance(load, now, devices_, tolerated);
    if (next == now)
      return;
    for (std::size_t s = 0; s < next.size(); ++s)
      owners_[s].store(next[s], std::memory_order_relaxed);
    version_.fetch_add(1, std::memory_order_release);
  }

private:
  std::vector<std::atomic<std::uint32_t>> owners_;
  std::atomic<std::uint64_t> version_{0};
  std::mutex mutex_;
  std::vector<std::vector<double>> loads_; ///< `[lanes, shards]`
  std::uint32_t devices_ = 1;
};

} // namespace pikv
