// SPDX-License-Identifier: Apache-2.0
/// \file
/// Ghosts: what other scheduling policies would have kept. Each has a ledger of its own, hears what
/// the live one hears and lets pages go under the same limits, or under ghosts.tokens, by its own
/// order; no data is kept. A ghost can only hear of reads that happened: what the live policy has
/// dropped is not read, so it counts neither for nor against a ghost. Plain data, used by the scheduler actor only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <pikv/actors/policy_set.hpp>
#include <pikv/actors/scheduler/page_ledger.hpp>
#include <pikv/actors/shard_owner/geometry.hpp>

namespace pikv {

/// How many pages of the (sequence, layer) exceed `limit` entries, window included.
std::size_t pages_over_budget(const page_ledger& ledger, const page_geometry& geometry,
                              const settled_event& e, std::uint64_t limit);

class ghost_set {
public:
  /// Takes over the ghosts of a configuration. Ghosts that stay keep what they know; a new one
  /// begins with the pages that are kept now (`live`).
  void follow(std::shared_ptr<const policy_set> policies, const page_ledger& live);

  /// `live_limit`: entries that the live budget allows the layer.
  void settled(const settled_event& e, const page_geometry& geometry, std::uint64_t live_limit);
  /// `count(name, use_count)` is called for each ghost.
  template <class Count>
  void attended(const attended_event& e, Count&& count) {
    for (auto& g : ghosts_)
      count(std::string_view{g.name}, g.ledger.attended(e, [](std::uint64_t) {}));
  }
  /// The live policy let `pages` pages of the device go.
  void reclaimed(device_id device, std::size_t pages);

  /// For all that changes ledgers and not what they would drop.
  template <class Change>
  void each(Change&& change) {
    for (auto& g : ghosts_)
      change(g.ledger);
  }
  bool empty() const noexcept { return ghosts_.empty(); }

private:
  struct ghost {
    std::string name;
    page_ledger ledger;
  };
  /// The policy of ghosts_[i].
  const policies::scheduling_policy& policy(std::size_t i) const {
    return *policies_->ghosts[i].policy;
  }

  std::shared_ptr<const policy_set> policies_;
  std::vector<ghost> ghosts_; ///< in the order of policies_->ghosts
};

} // namespace pikv
