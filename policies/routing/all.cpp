// SPDX-License-Identifier: Apache-2.0
// All: every query reads every shard. Exact; what to read is then up to the selection.
#include <algorithm>

#include <pikv/policies/routing/routing_policy.hpp>

namespace pikv::policies {

namespace {

class all final : public routing_policy {
public:
  bool routes_all() const noexcept override { return true; }
  bool needs_gate() const noexcept override { return false; }
  bool needs_mass() const noexcept override { return false; }
  void route(const route_query&, std::span<std::uint8_t> in_route) const noexcept override {
    std::ranges::fill(in_route, std::uint8_t{1});
  }
  std::optional<route_rule> rule() const noexcept override { return route_rule{}; }
};

} // namespace

table_entry<routing_policy> all_routing() {
  return {{"all", "every shard; exact", {}},
          [](const option_set&, const policy_context&) -> std::unique_ptr<routing_policy> {
            return std::make_unique<all>();
          }};
}

} // namespace pikv::policies
