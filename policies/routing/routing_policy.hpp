// SPDX-License-Identifier: Apache-2.0
/// \file
/// Routing: which shards a query row reads.
#pragma once

#include <optional>
#include <span>

#include <pikv/messages/choice.hpp>
#include <pikv/messages/types.hpp>
#include <pikv/policies/table.hpp>

namespace pikv::policies {

/// What is known of one query row. Spans that a policy did not ask for may be empty.
struct route_query {
  /// Gate logits of the row's token in the layer that labels this one `[experts]`; empty where no
  /// gate is known (first layer, dense models): every policy then routes to all shards.
  std::span<const float> gate_logits;
  /// Estimated share of the old softmax mass in each shard `[shards]`, mean over query heads.
  std::span<const float> shard_mass;
  /// Pages that the row could read in each shard `[shards]`.
  std::span<const std::uint32_t> shard_pages;
  /// Share of the row's mass in what it reads in any case (sinks, window), in [0, 1]. Given to
  /// policies that need the total: shard_mass is then of the whole mass, and the two sum to 1.
  float always_mass = 0;
  /// (KV head, entry) pairs that the lane has read of each shard lately `[shards]`; decayed.
  std::span<const float> shard_load{};
  /// Pages that the lane's routes wanted of each shard lately and that were gone `[shards]`;
  /// decayed.
  std::span<const float> shard_misses{};
  /// The device that owns each shard `[shards]`; empty: one device owns all.
  std::span<const std::uint32_t> shard_owner{};
  /// The share of the mass to reach; 0: what the policy's options say.
  double coverage = 0;
};

/// Pure and deterministic: the same query gives the same route. const members may be called from
/// several threads at once.
class routing_policy {
public:
  virtual ~routing_policy() = default;
  virtual bool routes_all() const noexcept { return false; } ///< true: `route` need not be called
  virtual bool needs_gate() const noexcept = 0;
  virtual bool needs_mass() const noexcept = 0;
  virtual bool needs_total() const noexcept { return false; }  ///< wants `always_mass`
  virtual bool needs_load() const noexcept { return false; }   ///< wants `shard_load`
  virtual bool needs_misses() const noexcept { return false; } ///< wants `shard_misses`
  /// The same as a rule, for devices that route by themselves; none: only this object can say.
  virtual std::optional<route_rule> rule() const noexcept { return std::nullopt; }
  /// Sets `in_route[s]` to 1 for each shard s that the row reads, else 0. At least one shard that
  /// has pages is always routed.
  virtual void route(const route_query& query, std::span<std::uint8_t> in_route) const noexcept = 0;
};

std::span<const table_entry<routing_policy>> routing_table();

} // namespace pikv::policies
