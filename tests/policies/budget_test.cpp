// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/budget/budget_policy.hpp>

#include "support.hpp"

namespace pikv::policies::testing {
namespace {

std::unique_ptr<budget_policy> made(const given_options& options = {}) {
  return must_make(budget_table(), "uniform", options);
}

TEST(uniform_budget, sets_no_limit_by_default) {
  const auto policy = made();
  EXPECT_FALSE(policy->limits());
  for (const std::uint64_t seen : {0ull, 1ull, 1ull << 40})
    EXPECT_EQ(policy->entries(0, seen), unlimited_entries);
}

TEST(uniform_budget, limits_tokens) {
  const auto policy = made({{"tokens", std::int64_t{256}}});
  EXPECT_TRUE(policy->limits());
  EXPECT_EQ(policy->entries(0, 10), 256u);
  EXPECT_EQ(policy->entries(3, 100000), 256u);
}

TEST(uniform_budget, limits_the_share_of_entries_seen_rounded_up) {
  const auto policy = made({{"share", 0.25}});
  EXPECT_TRUE(policy->limits());
  EXPECT_EQ(policy->entries(0, 0), 0u);
  EXPECT_EQ(policy->entries(0, 1), 1u);
  EXPECT_EQ(policy->entries(0, 16), 4u);
  EXPECT_EQ(policy->entries(0, 17), 5u);
}

TEST(uniform_budget, takes_the_smaller_limit) {
  const auto policy = made({{"tokens", std::int64_t{100}}, {"share", 0.5}});
  EXPECT_EQ(policy->entries(0, 60), 30u);
  EXPECT_EQ(policy->entries(0, 1000), 100u);
}

TEST(uniform_budget, is_the_same_for_every_layer) {
  const auto policy = made({{"share", 0.5}});
  for (std::uint32_t layer = 0; layer < 100; ++layer)
    EXPECT_EQ(policy->entries(layer, 77), policy->entries(0, 77));
}

TEST(uniform_budget, takes_a_whole_number_as_share) {
  EXPECT_FALSE(made({{"share", std::int64_t{1}}})->limits());
}

} // namespace
} // namespace pikv::policies::testing
