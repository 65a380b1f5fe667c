// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/table.hpp>

#include <fmt/format.h>

#include <pikv/messages/nearest_name.hpp>
#include <pikv/policies/budget/budget_policy.hpp>
#include <pikv/policies/compression/compression_policy.hpp>
#include <pikv/policies/placement/placement_policy.hpp>
#include <pikv/policies/routing/routing_policy.hpp>
#include <pikv/policies/scheduling/scheduling_policy.hpp>
#include <pikv/policies/selection/selection_policy.hpp>

namespace pikv::policies {

namespace {

template <class Policy>
policy_kind_info describe(std::string kind, std::string help,
                          std::span<const table_entry<Policy>> table) {
  policy_kind_info out{std::move(kind), std::move(help), {}};
  for (const auto& entry : table)
    out.policies.push_back(entry.info);
  return out;
}

} // namespace

error unknown_policy(std::string_view name, std::span<const std::string> known) {
  return {errc::unknown_policy,
          fmt::format("there is no policy \"{}\"; did you mean \"{}\"? Allowed: {}", name,
                      nearest_name(name, known), fmt::join(known, ", "))};
}

policy_catalog catalog() {
  return {
      describe("placement", "which shard a settled page belongs to", placement_table()),
      describe("routing", "which shards a query reads", routing_table()),
      describe("selection", "which old pages inside the route a query reads", selection_table()),
      describe("compression", "in which form a settled page is kept", compression_table()),
      describe("budget", "how many entries a layer of a sequence may keep", budget_table()),
      describe("scheduling", "which page gives way first when memory is short", scheduling_table()),
  };
}

} // namespace pikv::policies
