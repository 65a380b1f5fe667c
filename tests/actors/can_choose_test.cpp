// SPDX-License-Identifier: Apache-2.0
// Who chooses pages: a device with a kernel for it takes what can be said as rules, and the router
// surveys and plans on the CPU for all else.
#include <pikv/actors/shard_owner/choosing.hpp>

#include <gtest/gtest.h>

#include "support/cache_cases.hpp"

namespace pikv::test {
namespace {

bool device_chooses(const char* routing, policy_choice selection, double target = 0) {
  config::settings s;
  s.routing = choose(routing);
  s.selection = std::move(selection);
  s.fidelity.coverage_target = target;
  const auto policies = make_policy_set(s, {2, 4, 2, 32, 8}, 1);
  EXPECT_TRUE(policies.ok()) << (policies ? "" : to_string(policies.error()));
  gpu::kernel_table kernels;
  kernels.choose = [](const gpu::choose_args&, gpu::page_selection&, gpu::executor&) noexcept {};
  return policies && can_choose(kernels, {4, 2, 32, 16}, **policies);
}

TEST(can_choose, takes_rules) {
  for (const auto* routing : {"all", "gate_top_k", "mass"})
    for (const auto* selection : {"all", "mass", "quest"})
      EXPECT_TRUE(device_chooses(routing, choose(selection))) << routing << " " << selection;
}

TEST(can_choose, leaves_the_rest_to_the_policies) {
  for (const auto* routing :
       {"adaptive", "hybrid", "balanced", "cache_aware", "hierarchical", "eplb"})
    EXPECT_FALSE(device_chooses(routing, choose("all"))) << routing;
  EXPECT_FALSE(device_chooses("all", choose("mass", {{"coverage", .99}})));
  EXPECT_FALSE(device_chooses("all", choose("mass"), .99)) << "a target steers by coverage";
}

TEST(can_choose, leaves_nothing_where_the_host_chooses_anyway) {
  const auto policies = make_policy_set({}, {2, 4, 2, 32, 8}, 1);
  EXPECT_TRUE(can_choose(gpu::kernel_table{}, {4, 2, 32, 16}, **policies));
}

} // namespace
} // namespace pikv::test
