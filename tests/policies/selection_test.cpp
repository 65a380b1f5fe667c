// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/selection/selection_policy.hpp>

#include <algorithm>

#include <pikv/policies/share.hpp>

#include "support.hpp"

namespace pikv::policies::testing {
namespace {

std::unique_ptr<selection_policy> made(const std::string& name, const given_options& options = {}) {
  return must_make(selection_table(), name, options);
}

class selection_contract : public ::testing::TestWithParam<std::string> {};

TEST_P(selection_contract, reads_between_none_and_all_pages_and_none_of_none) {
  const auto policy = made(GetParam());
  EXPECT_EQ(policy->pages_to_read(0), 0u);
  for (const std::size_t n : {1ul, 2ul, 7ul, 8ul, 9ul, 1000ul, 1ul << 40}) {
    EXPECT_GE(policy->pages_to_read(n), 1u);
    EXPECT_LE(policy->pages_to_read(n), n);
    EXPECT_EQ(policy->pages_to_read(n), policy->pages_to_read(n));
  }
}

/// What the formula of select_budget (messages/choice.hpp) says.
std::size_t pages_by_rule(const select_budget& x, std::size_t eligible) {
  return x.pages > 0 ? std::min<std::size_t>(x.pages, eligible) : ceil_share(x.share, eligible);
}

void expect_rule_holds(const selection_policy& policy) {
  const auto rule = policy.budget();
  if (!rule)
    return; // then only the policy can tell
  for (std::size_t n = 0; n < 3000; ++n) {
    const auto expected = policy.score() == page_score::none ? n : pages_by_rule(*rule, n);
    ASSERT_EQ(policy.pages_to_read(n), expected) << n << " pages";
  }
}

TEST_P(selection_contract, a_rule_says_how_many_pages_are_read) {
  expect_rule_holds(*made(GetParam()));
  for (const auto& entry : selection_table())
    for (const auto& spec : entry.info.options) {
      if (entry.info.name != GetParam() || !spec.min)
        continue;
      // Powers of two over the range of every number that can be set.
      const bool real = spec.type == option_type::real;
      for (double x = std::max(*spec.min, 1e-6); x <= *spec.max; x *= 2)
        expect_rule_holds(*made(
            GetParam(),
            {{spec.name, real ? option_value{x} : option_value{static_cast<std::int64_t>(x)}}}));
    }
}

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const auto& x : selection_table())
    out.push_back(x.info.name);
  return out;
}
INSTANTIATE_TEST_SUITE_P(every, selection_contract, ::testing::ValuesIn(names()),
                         [](const auto& x) { return x.param; });

TEST(all_selection, is_a_rule) { EXPECT_TRUE(made("all")->budget()); }

TEST(all_selection, reads_everything_and_scores_nothing) {
  const auto policy = made("all");
  EXPECT_EQ(policy->score(), page_score::none);
  EXPECT_EQ(policy->pages_to_read(123), 123u);
}

class budgeted_selection : public ::testing::TestWithParam<std::string> {};

TEST_P(budgeted_selection, selects_per_kv_head_by_default) {
  EXPECT_EQ(made(GetParam())->scope(), head_scope::per_kv_head);
}

TEST_P(budgeted_selection, is_a_rule) {
  const auto policy = made(GetParam(), {{"share", 0.3}, {"pages", std::int64_t{4294967295}}});
  ASSERT_TRUE(policy->budget());
  EXPECT_EQ(policy->budget()->pages, 4294967295u);
  EXPECT_EQ(policy->budget()->share, 0.3);
}

TEST_P(budgeted_selection, can_select_for_all_heads_together) {
  EXPECT_EQ(made(GetParam(), {{"heads", std::string{"shared"}}})->scope(), head_scope::shared);
}

TEST_P(budgeted_selection, reads_an_eighth_by_default_rounded_up) {
  const auto policy = made(GetParam());
  for (std::size_t n = 1; n < 2000; ++n)
    EXPECT_EQ(policy->pages_to_read(n), (n + 7) / 8);
}

TEST_P(budgeted_selection, does_not_round_exact_products_up) {
  for (std::int64_t percent = 1; percent <= 100; ++percent) {
    const auto policy = made(GetParam(), {{"share", static_cast<double>(percent) / 100}});
    for (std::size_t n = 1; n <= 1000; ++n)
      ASSERT_EQ(policy->pages_to_read(n), (n * static_cast<std::size_t>(percent) + 99) / 100)
          << percent << "% of " << n;
  }
}

TEST_P(budgeted_selection, reads_at_least_one_page) {
  EXPECT_EQ(made(GetParam(), {{"share", 1e-6}})->pages_to_read(3), 1u);
}

TEST_P(budgeted_selection, a_page_budget_replaces_the_share) {
  const auto policy = made(GetParam(), {{"share", 0.5}, {"pages", std::int64_t{3}}});
  EXPECT_EQ(policy->pages_to_read(100), 3u);
  EXPECT_EQ(policy->pages_to_read(2), 2u);
  EXPECT_EQ(policy->pages_to_read(0), 0u);
}

INSTANTIATE_TEST_SUITE_P(every, budgeted_selection, ::testing::Values("mass", "quest"),
                         [](const auto& x) { return x.param; });

TEST(mass_selection, ranks_by_mass) { EXPECT_EQ(made("mass")->score(), page_score::mass); }

TEST(quest_selection, ranks_by_the_bound) { EXPECT_EQ(made("quest")->score(), page_score::quest); }

} // namespace
} // namespace pikv::policies::testing
