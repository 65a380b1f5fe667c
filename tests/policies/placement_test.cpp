// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/placement/placement_policy.hpp>

#include <random>
#include <set>

#include "support.hpp"

namespace pikv::policies::testing {
namespace {

using labels = std::vector<std::uint16_t>;

std::unique_ptr<placement_policy> made(const std::string& name, std::uint32_t shards = 8,
                                       std::uint32_t experts = 8) {
  return must_make(placement_table(), name, {}, context(shards, experts));
}

page_facts page(std::uint32_t layer, std::uint32_t index, std::span<const std::uint16_t> top = {}) {
  return {.sequence = {1},
          .layer = layer,
          .page = index,
          .first_position = index * 16,
          .tokens = 16,
          .top_experts = top};
}

class placement_contract : public ::testing::TestWithParam<std::string> {};

TEST_P(placement_contract, shards_are_in_range_and_the_same_for_the_same_facts) {
  std::mt19937 random(7);
  for (const std::uint32_t shards : {1u, 2u, 3u, 7u, 8u, 100u, 4096u}) {
    const auto policy = made(GetParam(), shards);
    for (int i = 0; i < 300; ++i) {
      labels top(random() % 17);
      for (auto& x : top)
        x = static_cast<std::uint16_t>(random());
      const auto facts =
          page(static_cast<std::uint32_t>(random()), static_cast<std::uint32_t>(random()), top);
      const auto shard = policy->place(facts);
      EXPECT_LT(shard.value, shards);
      EXPECT_EQ(shard, policy->place(facts));
    }
  }
}

TEST_P(placement_contract, waits_for_no_gate_where_the_model_has_none) {
  EXPECT_FALSE(made(GetParam(), 8, 0)->needs_gate());
}

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const auto& x : placement_table())
    out.push_back(x.info.name);
  return out;
}
INSTANTIATE_TEST_SUITE_P(every, placement_contract, ::testing::ValuesIn(names()),
                         [](const auto& x) { return x.param; });

TEST(stripe_placement, is_page_plus_layer_mod_shards) {
  const auto policy = made("stripe", 5);
  EXPECT_EQ(policy->place(page(0, 7)).value, 2u);
  EXPECT_EQ(policy->place(page(3, 7)).value, 0u);
  EXPECT_EQ(policy->place(page(1, 4294967295u)).value, (4294967295ull + 1) % 5);
}

TEST(stripe_placement, needs_no_gate) { EXPECT_FALSE(made("stripe")->needs_gate()); }

TEST(hash_placement, is_the_xor_of_page_and_majority_expert) {
  const auto policy = made("hash", 8);
  const labels top{5, 5, 3};
  for (std::uint32_t t = 0; t < 40; ++t)
    EXPECT_EQ(policy->place(page(2, t, top)).value, (t % 8) ^ 5u);
}

TEST(hash_placement, uses_the_largest_power_of_two_that_is_not_above_the_shards) {
  const auto policy = made("hash", 13);
  const labels top{14};
  for (std::uint32_t t = 0; t < 40; ++t)
    EXPECT_EQ(policy->place(page(0, t, top)).value, (t % 8) ^ (14u % 8));
}

TEST(hash_placement, takes_expert_zero_without_annotation) {
  EXPECT_EQ(made("hash", 8)->place(page(0, 13)).value, 5u);
}

TEST(hash_placement, spreads_one_expert_over_all_shards) {
  const auto policy = made("hash", 8);
  const labels top{6};
  std::set<std::uint32_t> seen;
  for (std::uint32_t t = 0; t < 8; ++t)
    seen.insert(policy->place(page(0, t, top)).value);
  EXPECT_EQ(seen.size(), 8u);
}

TEST(hash_placement, needs_a_gate) { EXPECT_TRUE(made("hash")->needs_gate()); }

TEST(gate_placement, is_the_most_frequent_expert_mod_shards) {
  const labels top{1, 12, 12, 3, 12, 1};
  EXPECT_EQ(made("gate", 16)->place(page(0, 9, top)).value, 12u);
  EXPECT_EQ(made("gate", 5)->place(page(0, 9, top)).value, 2u);
}

TEST(gate_placement, gives_ties_to_the_lower_expert) {
  const labels top{7, 2, 2, 7, 9};
  EXPECT_EQ(made("gate", 16)->place(page(0, 0, top)).value, 2u);
}

TEST(gate_placement, stripes_pages_that_are_not_annotated) {
  const auto gate = made("gate", 5);
  const auto stripe = made("stripe", 5);
  for (std::uint32_t t = 0; t < 20; ++t)
    EXPECT_EQ(gate->place(page(3, t)), stripe->place(page(3, t)));
}

TEST(gate_placement, needs_a_gate) { EXPECT_TRUE(made("gate")->needs_gate()); }

TEST(owner_of, deals_shards_in_turn) {
  EXPECT_EQ(owner_of({0}, 3).value, 0u);
  EXPECT_EQ(owner_of({5}, 3).value, 2u);
}

} // namespace
} // namespace pikv::policies::testing
