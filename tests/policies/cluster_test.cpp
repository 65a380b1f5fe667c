// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/placement/placement_policy.hpp>

#include <cmath>
#include <map>
#include <random>
#include <set>

#include "support.hpp"

namespace pikv::policies::testing {
namespace {

page_facts page(std::uint32_t index, std::span<const float> key) {
  return {.sequence = {1},
          .layer = 1,
          .page = index,
          .first_position = index * 16,
          .tokens = 16,
          .top_experts = {},
          .mean_key = key};
}

std::unique_ptr<placement_policy> made(std::uint32_t shards) {
  return must_make(placement_table(), "cluster", {}, context(shards));
}

TEST(cluster_placement, asks_for_keys_and_no_gate) {
  EXPECT_TRUE(made(4)->needs_keys());
  EXPECT_FALSE(made(4)->needs_gate());
}

TEST(cluster_placement, finds_groups_of_keys_that_lie_apart) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  const auto policy = made(4);
  placement_memory memory;
  std::map<std::size_t, std::set<std::uint32_t>> shards_of_group;
  const float corner[4][3] = {{9, 0, 0}, {0, 9, 0}, {0, 0, 9}, {-9, -9, -9}};
  for (std::uint32_t i = 0; i < 400; ++i) {
    // The first page of each group comes first: what k-means begins with is its own affair.
    const std::size_t group = i < 4 ? i : random() % 4;
    std::vector<float> key(3);
    for (std::size_t c = 0; c < 3; ++c)
      key[c] = corner[group][c] + normal(random);
    shards_of_group[group].insert(policy->place_and_learn(page(i, key), memory).value);
  }
  std::set<std::uint32_t> all;
  for (const auto& [group, shards] : shards_of_group) {
    EXPECT_EQ(shards.size(), 1u) << group;
    all.insert(shards.begin(), shards.end());
  }
  EXPECT_EQ(all.size(), 4u);
}

TEST(cluster_placement, follows_the_definition) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (int round = 0; round < 30; ++round) {
    const std::uint32_t shards = 1 + static_cast<std::uint32_t>(random() % 6);
    const auto policy = made(shards);
    placement_memory memory, copy;
    std::vector<std::vector<double>> sum; // per cluster, with the pages that joined
    std::vector<double> joined;
    for (std::uint32_t i = 0; i < 60; ++i) {
      std::vector<float> key(5);
      for (auto& x : key)
        x = normal(random);
      std::size_t want = sum.size();
      if (sum.size() < shards) {
        sum.emplace_back(5);
        joined.push_back(0);
      } else {
        double best = 1e30;
        for (std::size_t c = 0; c < sum.size(); ++c) {
          double d = 0;
          for (std::size_t x = 0; x < 5; ++x)
            d += std::pow(static_cast<double>(key[x]) - sum[c][x] / joined[c], 2);
          if (d < best) {
            best = d;
            want = c;
          }
        }
      }
      for (std::size_t x = 0; x < 5; ++x)
        sum[want][x] += static_cast<double>(key[x]);
      ++joined[want];
      ASSERT_EQ(policy->place_and_learn(page(i, key), memory).value, want) << i;
      ASSERT_EQ(policy->place_and_learn(page(i, key), copy).value, want) << "the same again";
    }
    for (std::size_t c = 0; c < sum.size(); ++c)
      for (std::size_t x = 0; x < 5; ++x)
        EXPECT_NEAR(memory.centroids[c * 5 + x], sum[c][x] / joined[c], 1e-4);
  }
}

TEST(cluster_placement, puts_equal_keys_into_one_cluster) {
  const auto policy = made(4);
  placement_memory memory;
  const std::vector<float> key{1, 2};
  for (std::uint32_t i = 0; i < 6; ++i)
    EXPECT_EQ(policy->place_and_learn(page(i, key), memory).value, 0u);
}

TEST(cluster_placement, stripes_pages_whose_keys_are_not_known) {
  const auto policy = made(5);
  const auto stripe = must_make(placement_table(), "stripe", {}, context(5));
  placement_memory memory;
  const std::vector<float> bad{1, std::nanf("")};
  for (std::uint32_t i = 0; i < 10; ++i) {
    EXPECT_EQ(policy->place_and_learn(page(i, {}), memory), stripe->place(page(i, {})));
    EXPECT_EQ(policy->place_and_learn(page(i, bad), memory), stripe->place(page(i, {})));
  }
  EXPECT_TRUE(memory.centroids.empty());
}

} // namespace
} // namespace pikv::policies::testing
