// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/budget/budget_policy.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include <pikv/policies/budget/layer_masses.hpp>

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

// -- budgets that give layers different room
// --------------------------------------------------------

constexpr std::uint32_t layers = 8;

std::unique_ptr<budget_policy> made(const char* name, const given_options& options,
                                    std::uint32_t n = layers) {
  policy_context context;
  context.layers = n;
  return must_make(budget_table(), name, options, context);
}

std::vector<std::uint64_t> all(const budget_policy& p, std::uint64_t seen,
                               std::span<const double> masses = {}, std::uint32_t n = layers) {
  std::vector<std::uint64_t> x;
  for (std::uint32_t i = 0; i < n; ++i)
    x.push_back(p.entries(i, seen, masses));
  return x;
}

std::uint64_t sum(const std::vector<std::uint64_t>& x) {
  return std::accumulate(x.begin(), x.end(), std::uint64_t{0});
}

std::vector<double> random_masses(std::mt19937& rng, std::uint32_t n) {
  std::vector<double> x(n);
  std::gamma_distribution<double> mass{0.5, 0.2};
  std::ranges::generate(x, [&] { return mass(rng); });
  return x;
}

/// Whatever the layers, the sizes and the masses: as much as `uniform` in all, up to rounding, and
/// no layer above what it has seen.
TEST(layered_budgets, keep_as_much_as_uniform_over_all_layers) {
  std::mt19937 rng{5};
  for (int i = 0; i < 2000; ++i) {
    const auto n = static_cast<std::uint32_t>(1 + rng() % 40);
    const std::uint64_t seen = 1 + rng() % 5000;
    const double share = 0.01 + static_cast<double>(rng() % 99) / 100;
    const auto want = made("uniform", {{"share", share}})->entries(0, seen) * n;
    const auto masses = random_masses(rng, n);
    const auto pyramid =
        made("pyramid", {{"share", share}, {"beta", 1.0 + static_cast<double>(rng() % 50)}}, n);
    const auto by_mass = made(
        "layer_mass", {{"share", share}, {"least", static_cast<double>(rng() % 101) / 100}}, n);
    for (const auto& x : {all(*pyramid, seen, {}, n), all(*by_mass, seen, masses, n)}) {
      EXPECT_LE(sum(x), want);
      EXPECT_GE(sum(x) + n, want) << "seen " << seen << ", share " << share << ", layers " << n;
      EXPECT_LE(*std::ranges::max_element(x), seen);
    }
  }
}

TEST(pyramid_budget, goes_down_in_a_straight_line_to_the_mean_over_beta) {
  const auto x = all(*made("pyramid", {{"tokens", std::int64_t{1000}}, {"beta", 10.0}}), 100000);
  EXPECT_EQ(x.front(), 1900u);
  EXPECT_EQ(x.back(), 100u);
  for (std::size_t i = 1; i < x.size(); ++i)
    EXPECT_NEAR(static_cast<double>(x[i - 1] - x[i]), 1800.0 / 7, 1);
}

TEST(pyramid_budget, of_beta_1_is_uniform_and_without_limits_there_are_none) {
  for (const auto x : all(*made("pyramid", {{"tokens", std::int64_t{500}}, {"beta", 1.0}}), 4000))
    EXPECT_EQ(x, 500u);
  EXPECT_FALSE(made("pyramid", {})->limits());
  EXPECT_EQ(made("pyramid", {})->entries(3, 77), unlimited_entries);
}

TEST(pyramid_budget, what_the_first_layer_has_not_seen_goes_to_the_last) {
  const auto x = all(*made("pyramid", {{"share", 0.75}}), 1000);
  EXPECT_EQ(x.front(), 1000u);
  EXPECT_EQ(x.back(), 500u);
}

TEST(layer_mass_budget, deals_out_by_mass_what_is_above_the_least) {
  const double masses[layers] = {3, 1, 1, 1, 1, 1, 0, 0};
  const auto x =
      all(*made("layer_mass", {{"tokens", std::int64_t{800}}, {"least", 0.5}}), 100000, masses);
  EXPECT_EQ(x, (std::vector<std::uint64_t>{1600, 800, 800, 800, 800, 800, 400, 400}));
}

TEST(layer_mass_budget, keeps_like_uniform_until_something_is_measured) {
  const auto p = made("layer_mass", {{"tokens", std::int64_t{800}}});
  EXPECT_TRUE(p->needs_mass());
  const std::vector<double> nothing(layers, 0.0), too_few(layers - 1, 1.0);
  for (const auto& masses : {std::vector<double>{}, nothing, too_few})
    for (const auto x : all(*p, 4000, masses))
      EXPECT_EQ(x, 800u);
}

TEST(layer_mass_budget, a_layer_with_more_mass_never_keeps_less) {
  std::mt19937 rng{6};
  for (int i = 0; i < 300; ++i) {
    const auto masses = random_masses(rng, layers);
    const auto x =
        all(*made("layer_mass", {{"share", 0.3}, {"least", 0.1}}), 1 + rng() % 3000, masses);
    for (std::uint32_t a = 0; a < layers; ++a)
      for (std::uint32_t b = 0; b < layers; ++b)
        if (masses[a] > masses[b]) {
          EXPECT_GE(x[a], x[b]);
        }
  }
}

TEST(layer_masses, follow_what_is_observed_and_stand_still_for_less_than_a_step) {
  layer_masses x;
  EXPECT_TRUE(x.values().empty());
  x.observe(2, 0.4, 1);
  EXPECT_EQ(std::vector<double>(x.values().begin(), x.values().end()),
            (std::vector<double>{0, 0, 0.4}));
  for (int i = 0; i < 1000; ++i)
    x.observe(2, i % 2 == 0 ? 0.39 : 0.41, 1);
  EXPECT_EQ(x.values()[2], 0.4);
  for (int i = 0; i < 1000; ++i)
    x.observe(2, 0.8, 1);
  EXPECT_NEAR(x.values()[2], 0.8, 0.05 * 0.8);
}

} // namespace
} // namespace pikv::policies::testing
