// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/scheduler/ghosts.hpp>

#include <algorithm>

namespace pikv {

std::size_t pages_over_budget(const page_ledger& ledger, const page_geometry& geometry,
                              const settled_event& e, std::uint64_t limit) {
  if (limit == policies::unlimited_entries)
    return 0;
  // Counted as large as the window gets before the next page settles, so that the budget also holds
  // between settles.
  const auto window = std::uint64_t{geometry.window} + geometry.sinks + geometry.page_tokens - 1;
  const auto kept = ledger.kept_tokens(e.sequence, e.layer);
  if (kept + window <= limit)
    return 0;
  const auto over = std::min(kept, kept + window - limit);
  return (over + geometry.page_tokens - 1) / geometry.page_tokens;
}

void ghost_set::follow(std::shared_ptr<const policy_set> policies, const page_ledger& live) {
  std::vector<ghost> next;
  for (const auto& wanted : policies->ghosts) {
    const auto old = std::ranges::find(ghosts_, wanted.name, &ghost::name);
    if (old != ghosts_.end())
      next.push_back(std::move(*old));
    else
      next.push_back({wanted.name, live});
  }
  ghosts_ = std::move(next);
  policies_ = std::move(policies);
}

void ghost_set::settled(const settled_event& e, const page_geometry& geometry,
                        std::uint64_t live_limit) {
  const std::uint64_t own = policies_ == nullptr ? 0 : policies_->settings.ghosts.tokens;
  const auto limit = own > 0 ? own : live_limit;
  for (std::size_t i = 0; i < ghosts_.size(); ++i) {
    auto& ledger = ghosts_[i].ledger;
    ledger.settled(e, geometry.sinks);
    if (e.entries == 0)
      continue;
    if (const auto over = pages_over_budget(ledger, geometry, e, limit); over > 0)
      ledger.take_lowest(e.sequence, e.layer, over, policy(i));
  }
}

void ghost_set::reclaimed(device_id device, std::size_t pages) {
  for (std::size_t i = 0; i < ghosts_.size(); ++i)
    ghosts_[i].ledger.take_lowest(device, pages, policy(i));
}

} // namespace pikv
