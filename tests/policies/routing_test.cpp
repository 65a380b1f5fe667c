// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/routing/routing_policy.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include "support.hpp"

namespace pikv::policies::testing {
namespace {

using route_mask = std::vector<std::uint8_t>;
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

std::unique_ptr<routing_policy> made(const std::string& name, std::int64_t k) {
  return must_make(routing_table(), name, {{"k", k}});
}

route_mask route(const routing_policy& policy, const route_query& query, std::size_t shards) {
  route_mask out(shards, 7); // a value that no policy writes
  policy.route(query, out);
  return out;
}

class routing_contract : public ::testing::TestWithParam<std::string> {};

TEST_P(routing_contract, is_deterministic_and_routes_a_shard_that_has_pages) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  const auto policy = must_make(routing_table(), GetParam());
  for (int i = 0; i < 500; ++i) {
    const std::size_t shards = 1 + random() % 20;
    std::vector<float> logits(1 + random() % 32);
    std::vector<float> mass(shards);
    std::vector<std::uint32_t> pages(shards);
    for (auto& x : logits)
      x = random() % 8 == 0 ? nan : normal(random);
    for (auto& x : mass)
      x = std::abs(normal(random));
    for (auto& x : pages)
      x = random() % 4 == 0 ? static_cast<std::uint32_t>(random() % 100) : 0;
    pages[random() % shards] = 1;
    const route_query query{logits, mass, pages};
    const auto mask = route(*policy, query, shards);
    EXPECT_EQ(mask, route(*policy, query, shards));
    std::size_t readable = 0;
    for (std::size_t s = 0; s < shards; ++s) {
      EXPECT_LE(mask[s], 1);
      readable += mask[s] != 0 && pages[s] > 0 ? 1u : 0u;
    }
    EXPECT_GE(readable, 1u);
  }
}

TEST_P(routing_contract, routes_all_where_nothing_is_known) {
  EXPECT_EQ(route(*must_make(routing_table(), GetParam()), {}, 5), route_mask(5, 1));
}

TEST_P(routing_contract, takes_no_shards_at_all) {
  EXPECT_TRUE(route(*must_make(routing_table(), GetParam()), {}, 0).empty());
}

TEST_P(routing_contract, marks_nothing_or_everything_but_never_fails_without_pages) {
  const std::vector<float> values(4, 0.25f);
  const std::vector<std::uint32_t> pages(4, 0);
  for (const auto x : route(*must_make(routing_table(), GetParam()), {values, values, pages}, 4))
    EXPECT_LE(x, 1);
}

/// Indices from the largest value to the smallest; lower ones first among equals, NaN last.
std::vector<std::size_t> descending(std::span<const float> values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater{}, [&](std::size_t i) {
    return std::isnan(values[i]) ? -std::numeric_limits<float>::infinity() : values[i];
  });
  return order;
}

/// What the kinds of route_rule (messages/choice.hpp) mean, for a query that knows everything.
route_mask route_by_rule(const route_rule& rule, const route_query& query, std::size_t shards) {
  if (rule.kind == route_kind::all)
    return route_mask(shards, 1);
  route_mask out(shards, 0);
  const auto& pages = query.shard_pages;
  if (rule.kind == route_kind::mass) {
    std::size_t taken = 0;
    for (const auto s : descending(query.shard_mass))
      if (pages[s] > 0 && taken++ < rule.k)
        out[s] = 1;
    return out;
  }
  bool reads = false;
  std::size_t rank = 0;
  for (const auto expert : descending(query.gate_logits)) {
    const auto s = expert % shards;
    if (rank++ < rule.k || (!reads && pages[s] > 0))
      out[s] = 1;
    reads = reads || (out[s] != 0 && pages[s] > 0);
  }
  for (std::size_t s = 0; !reads && s < shards; ++s)
    if (pages[s] > 0) {
      out[s] = 1;
      reads = true;
    }
  return out;
}

void expect_rule_holds(const routing_policy& policy) {
  const auto rule = policy.rule();
  EXPECT_EQ(policy.routes_all(), rule && rule->kind == route_kind::all);
  if (!rule)
    return; // then only the policy can tell
  EXPECT_EQ(policy.needs_gate(), rule->kind == route_kind::gate_top_k);
  EXPECT_EQ(policy.needs_mass(), rule->kind == route_kind::mass);
  std::mt19937 random(5);
  for (int i = 0; i < 200; ++i) {
    const std::size_t shards = 1 + random() % 20;
    std::vector<float> logits(1 + random() % 32), mass(shards);
    std::vector<std::uint32_t> pages(shards);
    for (auto& x : logits)
      x = random() % 8 == 0 ? nan : static_cast<float>(random() % 16) / 4;
    for (auto& x : mass)
      x = static_cast<float>(random() % 16) / 16;
    for (auto& x : pages)
      x = random() % 2 == 0 ? static_cast<std::uint32_t>(random() % 100) : 0;
    const route_query query{logits, mass, pages};
    ASSERT_EQ(route(policy, query, shards), route_by_rule(*rule, query, shards));
  }
}

TEST_P(routing_contract, a_rule_says_what_is_routed) {
  expect_rule_holds(*must_make(routing_table(), GetParam()));
  for (const auto& entry : routing_table())
    for (const auto& spec : entry.info.options)
      if (entry.info.name == GetParam() && spec.type == option_type::integer)
        for (const double x : {*spec.min, *spec.min + 2, *spec.min + 7, *spec.max})
          expect_rule_holds(
              *must_make(routing_table(), GetParam(), {{spec.name, static_cast<std::int64_t>(x)}}));
}

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const auto& x : routing_table())
    out.push_back(x.info.name);
  return out;
}
INSTANTIATE_TEST_SUITE_P(every, routing_contract, ::testing::ValuesIn(names()),
                         [](const auto& x) { return x.param; });

TEST(routing_rules, are_given_by_the_policies_that_have_one) {
  EXPECT_EQ(must_make(routing_table(), "all")->rule()->kind, route_kind::all);
  EXPECT_EQ(made("gate_top_k", 3)->rule()->k, 3u);
  EXPECT_EQ(made("mass", 65536)->rule()->k, 65536u);
}

TEST(all_routing, routes_all_and_needs_nothing) {
  const auto policy = must_make(routing_table(), "all");
  EXPECT_TRUE(policy->routes_all());
  EXPECT_FALSE(policy->needs_gate());
  EXPECT_FALSE(policy->needs_mass());
}

TEST(gate_top_k_routing, needs_the_gate_only) {
  const auto policy = made("gate_top_k", 2);
  EXPECT_FALSE(policy->routes_all());
  EXPECT_TRUE(policy->needs_gate());
  EXPECT_FALSE(policy->needs_mass());
}

TEST(gate_top_k_routing, takes_two_experts_by_default) {
  const std::vector<float> logits{1, 5, 3, 4};
  EXPECT_EQ(route(*must_make(routing_table(), "gate_top_k"), {logits, {}, {}}, 4),
            (route_mask{0, 1, 0, 1}));
}

TEST(gate_top_k_routing, reads_the_shards_of_the_largest_logits) {
  const std::vector<float> logits{-3, 2, 9, 0, 8, -1};
  EXPECT_EQ(route(*made("gate_top_k", 3), {logits, {}, {}}, 6), (route_mask{0, 1, 1, 0, 1, 0}));
}

TEST(gate_top_k_routing, wraps_experts_around_the_shards) {
  const std::vector<float> logits{0, 1, 2, 3, 4, 5};
  EXPECT_EQ(route(*made("gate_top_k", 2), {logits, {}, {}}, 4), (route_mask{1, 1, 0, 0}));
}

TEST(gate_top_k_routing, gives_ties_to_the_lower_expert) {
  const std::vector<float> logits{1, 1, 1, 1};
  EXPECT_EQ(route(*made("gate_top_k", 2), {logits, {}, {}}, 4), (route_mask{1, 1, 0, 0}));
}

TEST(gate_top_k_routing, ranks_nan_last) {
  const std::vector<float> logits{nan, 1, nan, 2};
  EXPECT_EQ(route(*made("gate_top_k", 2), {logits, {}, {}}, 4), (route_mask{0, 1, 0, 1}));
}

TEST(gate_top_k_routing, reads_all_experts_where_k_is_larger) {
  const std::vector<float> logits{1, 2};
  EXPECT_EQ(route(*made("gate_top_k", 100), {logits, {}, {}}, 3), (route_mask{1, 1, 0}));
}

TEST(gate_top_k_routing, falls_back_to_the_next_expert_that_has_pages) {
  const std::vector<float> logits{4, 3, 2, 1};
  const std::vector<std::uint32_t> pages{0, 0, 0, 5};
  EXPECT_EQ(route(*made("gate_top_k", 1), {logits, {}, pages}, 4), (route_mask{1, 0, 0, 1}));
}

TEST(gate_top_k_routing, falls_back_to_any_shard_that_has_pages) {
  const std::vector<float> logits{4, 3};
  const std::vector<std::uint32_t> pages{0, 0, 0, 5};
  EXPECT_EQ(route(*made("gate_top_k", 1), {logits, {}, pages}, 4), (route_mask{1, 0, 0, 1}));
}

TEST(mass_routing, needs_the_mass_only) {
  const auto policy = made("mass", 2);
  EXPECT_FALSE(policy->routes_all());
  EXPECT_FALSE(policy->needs_gate());
  EXPECT_TRUE(policy->needs_mass());
}

TEST(mass_routing, reads_the_k_heaviest_shards) {
  const std::vector<float> mass{.1f, .5f, .15f, .25f};
  EXPECT_EQ(route(*made("mass", 2), {{}, mass, {}}, 4), (route_mask{0, 1, 0, 1}));
}

TEST(mass_routing, passes_over_shards_without_pages) {
  const std::vector<float> mass{.1f, .5f, .15f, .25f};
  const std::vector<std::uint32_t> pages{1, 0, 1, 1};
  EXPECT_EQ(route(*made("mass", 2), {{}, mass, pages}, 4), (route_mask{0, 0, 1, 1}));
}

TEST(mass_routing, agrees_with_a_stable_sort) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    const std::size_t shards = 1 + random() % 40;
    const auto k = 1 + random() % 45;
    std::vector<float> mass(shards);
    for (auto& x : mass)
      x = static_cast<float>(random() % 6) / 5;
    std::vector<std::size_t> order(shards);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, std::greater{}, [&](std::size_t i) { return mass[i]; });
    route_mask expected(shards, 0);
    for (std::size_t i = 0; i < std::min<std::size_t>(k, shards); ++i)
      expected[order[i]] = 1;
    EXPECT_EQ(route(*made("mass", static_cast<std::int64_t>(k)), {{}, mass, {}}, shards), expected);
  }
}

} // namespace
} // namespace pikv::policies::testing
