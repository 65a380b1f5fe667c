// SPDX-License-Identifier: Apache-2.0
/// \file
/// One configuration in force: the settings and the policies made from them, immutable. A request
/// takes the set that is current when it is made and keeps it to its end, so no request sees a mix.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <pikv/config/settings.hpp>
#include <pikv/messages/error.hpp>
#include <pikv/policies/budget/budget_policy.hpp>
#include <pikv/policies/compression/compression_policy.hpp>
#include <pikv/policies/placement/placement_policy.hpp>
#include <pikv/policies/routing/routing_policy.hpp>
#include <pikv/policies/scheduling/scheduling_policy.hpp>
#include <pikv/policies/selection/selection_policy.hpp>

namespace pikv {

/// A scheduling policy that is only watched: what it would have kept.
struct ghost_policy {
  std::string name;
  std::unique_ptr<policies::scheduling_policy> policy;
};

struct policy_set {
  std::uint64_t version = 0;
  config::settings settings;
  std::unique_ptr<policies::placement_policy> placement;
  std::unique_ptr<policies::routing_policy> routing;
  std::unique_ptr<policies::selection_policy> selection;
  std::unique_ptr<policies::compression_policy> compression;
  std::unique_ptr<policies::budget_policy> budget;
  std::unique_ptr<policies::scheduling_policy> scheduling;
  std::vector<ghost_policy> ghosts;
  bool wants_mass = false;           ///< scheduling, a ghost or the budget needs attention masses
  bool wants_reads = false;          ///< and which pages were read
  std::uint8_t key_facts_wanted = 0; ///< key_fact bits
  std::uint8_t summary_parts = 0; ///< gpu::summary_part bits that routing and selection need
  std::uint8_t scores = 0;        ///< bits 1 << gpu::score_kind that they need
  bool by_coverage = false;       ///< the selection reads what a coverage needs
  bool needs_total = false;       ///< they want the mass of what rows read in any case
  bool counts_shards = false;     ///< they want to know what is read of each shard
};

/// Makes all policies or says which one refused its options.
result<std::shared_ptr<const policy_set>>
make_policy_set(const config::settings& settings, const model_shape& shape, std::uint64_t version);

/// The sets by version. Thread-safe. The last `kept` versions can be looked up, for actors that
/// were told a version by a message.
class policy_store {
public:
  void put(std::shared_ptr<const policy_set> x);
  std::shared_ptr<const policy_set> current() const;
  std::shared_ptr<const policy_set> find(std::uint64_t version) const; ///< current if too old

private:
  static constexpr std::size_t kept = 64;
  mutable std::mutex mutex_;
  std::deque<std::shared_ptr<const policy_set>> sets_;
};

} // namespace pikv
