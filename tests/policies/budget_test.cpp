// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/budget/budget_policy.hpp>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "support.hpp"

namespace pikv::policies::testing {
namespace {

std::unique_ptr<budget_policy> made(const given_options& options = {}) {
  return must_make(budget_table(), "uniform", options);
}

std::uint64_t kept(const budget_policy& x, std::uint32_t layer, std::uint64_t seen,
                   std::span<const double> shares = {}) {
  return x.entries({layer, seen, shares});
}

TEST(uniform_budget, sets_no_limit_by_default) {
  const auto policy = made();
  EXPECT_FALSE(policy->limits());
  for (const std::uint64_t seen : {0ull, 1ull, 1ull << 40})
    EXPECT_EQ(kept(*policy, 0, seen), unlimited_entries);
}

TEST(uniform_budget, limits_tokens) {
  const auto policy = made({{"tokens", std::int64_t{256}}});
  EXPECT_TRUE(policy->limits());
  EXPECT_EQ(kept(*policy, 0, 10), 256u);
  EXPECT_EQ(kept(*policy, 3, 100000), 256u);
}

TEST(uniform_budget, limits_the_share_of_entries_seen_rounded_up) {
  const auto policy = made({{"share", 0.25}});
  EXPECT_TRUE(policy->limits());
  EXPECT_EQ(kept(*policy, 0, 0), 0u);
  EXPECT_EQ(kept(*policy, 0, 1), 1u);
  EXPECT_EQ(kept(*policy, 0, 16), 4u);
  EXPECT_EQ(kept(*policy, 0, 17), 5u);
}

TEST(uniform_budget, takes_the_smaller_limit) {
  const auto policy = made({{"tokens", std::int64_t{100}}, {"share", 0.5}});
  EXPECT_EQ(kept(*policy, 0, 60), 30u);
  EXPECT_EQ(kept(*policy, 0, 1000), 100u);
}

TEST(uniform_budget, is_the_same_for_every_layer) {
  const auto policy = made({{"share", 0.5}});
  for (std::uint32_t layer = 0; layer < 100; ++layer)
    EXPECT_EQ(kept(*policy, layer, 77), kept(*policy, 0, 77));
}

TEST(uniform_budget, takes_a_whole_number_as_share) {
  EXPECT_FALSE(made({{"share", std::int64_t{1}}})->limits());
}

/// A case for budgets by layer, and what `uniform` would do.
struct layered {
  policy_context context;
  given_options average;
  std::uint64_t mean = 0, seen = 0;
  std::vector<double> shares;
};

layered any_case(std::mt19937_64& rng) {
  const auto pick = [&](std::uint64_t n) { return rng() % n; };
  layered x;
  x.context.layers = 1 + static_cast<std::uint32_t>(pick(40));
  x.context.page_tokens = 1U << pick(7);
  x.context.protected_entries = static_cast<std::uint32_t>(pick(300));
  x.seen = pick(pick(2) == 0 ? 600 : 40000);
  if (pick(2) == 0)
    x.average = {{"tokens", static_cast<std::int64_t>(1 + pick(20000))}};
  else
    x.average = {{"share", std::uniform_real_distribution<double>(0.01, 0.99)(rng)}};
  x.mean = kept(*must_make(budget_table(), "uniform", x.average, x.context), 0, x.seen);
  double sum = 0;
  for (std::uint32_t l = 0; l < x.context.layers; ++l) {
    x.shares.push_back(pick(4) == 0 ? 0 : std::exponential_distribution<double>()(rng));
    sum += x.shares.back();
  }
  for (auto& s : x.shares)
    s = sum > 0 ? s / sum : 1.0 / x.context.layers;
  return x;
}

/// What holds for every budget: totals to the page, the floor, no more than was seen.
void check_totals(const layered& x, const std::vector<std::uint64_t>& got) {
  const auto pages_of = [&](std::uint64_t limit) {
    const auto fixed = x.context.protected_entries;
    return limit > fixed ? (limit - fixed) / x.context.page_tokens : 0;
  };
  std::uint64_t pages = 0;
  for (const auto n : got) {
    pages += pages_of(n);
    const std::uint64_t page = x.context.page_tokens;
    if (x.mean >= x.seen + page - 1) {
      EXPECT_EQ(n, x.mean) << "nothing needs to go";
      continue;
    }
    EXPECT_LE(n, x.seen + 2 * page - 2) << "more than there is before the next page settles";
    EXPECT_GE(n, std::min<std::uint64_t>(x.mean, x.context.protected_entries));
  }
  EXPECT_EQ(pages, x.context.layers * pages_of(x.mean));
  EXPECT_EQ(std::accumulate(got.begin(), got.end(), std::uint64_t{0}), x.context.layers * x.mean);
}

TEST(every_budget, keeps_the_total_of_uniform_to_the_page_and_the_floor) {
  std::mt19937_64 rng(1);
  int limited = 0;
  for (int i = 0; i < 3000 && !HasFailure(); ++i) {
    const auto x = any_case(rng);
    for (const auto& entry : budget_table()) {
      SCOPED_TRACE(entry.info.name);
      const auto policy = must_make(budget_table(), entry.info.name, x.average, x.context);
      std::vector<std::uint64_t> got;
      for (std::uint32_t l = 0; l < x.context.layers; ++l)
        got.push_back(kept(*policy, l, x.seen, x.shares));
      check_totals(x, got);
      limited += entry.info.name != "uniform" && std::ranges::min(got) != std::ranges::max(got);
    }
  }
  EXPECT_GT(limited, 1000) << "the cases do not tell budgets apart";
}

TEST(every_budget, sets_no_limit_by_default) {
  for (const auto& entry : budget_table()) {
    const auto policy = must_make(budget_table(), entry.info.name);
    EXPECT_FALSE(policy->limits()) << entry.info.name;
    EXPECT_FALSE(policy->needs_mass()) << entry.info.name;
    EXPECT_EQ(kept(*policy, 1, 100000), unlimited_entries) << entry.info.name;
  }
}

TEST(pyramid_budget, falls_from_layer_to_layer) {
  std::mt19937_64 rng(2);
  for (int i = 0; i < 2000; ++i) {
    const auto x = any_case(rng);
    const auto policy = must_make(budget_table(), "pyramid", x.average, x.context);
    for (std::uint32_t l = 1; l < x.context.layers; ++l)
      ASSERT_LE(kept(*policy, l, x.seen), kept(*policy, l - 1, x.seen));
  }
}

TEST(pyramid_budget, is_that_of_the_paper_in_whole_pages) {
  policy_context c{.layers = 5, .page_tokens = 1, .protected_entries = 8};
  const auto policy = must_make(budget_table(), "pyramid",
                                {{"tokens", std::int64_t{200}}, {"beta", 10.0}}, c);
  const std::uint64_t want[] = {380, 290, 200, 110, 20};
  for (std::uint32_t l = 0; l < 5; ++l)
    EXPECT_EQ(kept(*policy, l, 10000), want[l]);
  EXPECT_EQ(kept(*policy, 0, 300), 300U) << "no more than there is";
  EXPECT_EQ(kept(*policy, 4, 300), 100U) << "and the last layers keep what the first cannot";
}

TEST(layer_mass_budget, gives_more_to_layers_of_more_mass) {
  std::mt19937_64 rng(3);
  for (int i = 0; i < 2000; ++i) {
    const auto x = any_case(rng);
    const auto policy = must_make(budget_table(), "layer_mass", x.average, x.context);
    for (std::uint32_t a = 0; a < x.context.layers; ++a)
      for (std::uint32_t b = 0; b < x.context.layers; ++b)
        if (x.shares[a] > x.shares[b]) {
          ASSERT_GE(kept(*policy, a, x.seen, x.shares), kept(*policy, b, x.seen, x.shares));
        }
  }
}

TEST(layer_mass_budget, is_in_proportion_above_the_least_and_uniform_unmeasured) {
  policy_context c{.layers = 4, .page_tokens = 1, .protected_entries = 8};
  const auto policy = must_make(budget_table(), "layer_mass",
                                {{"tokens", std::int64_t{200}}, {"least", 0.5}}, c);
  EXPECT_TRUE(policy->needs_mass());
  const double shares[] = {0.1, 0.2, 0.3, 0.4};
  const std::uint64_t want[] = {140, 180, 220, 260};
  for (std::uint32_t l = 0; l < 4; ++l) {
    EXPECT_EQ(kept(*policy, l, 10000, shares), want[l]);
    EXPECT_EQ(kept(*policy, l, 10000), 200U);
  }
  const double all_in_one[] = {0, 0, 0, 1};
  EXPECT_EQ(kept(*policy, 3, 250, all_in_one), 250U) << "no more than there is";
  EXPECT_EQ(kept(*policy, 0, 250, all_in_one), 184U) << "what exceeds it goes to the others";
}

} // namespace
} // namespace pikv::policies::testing
