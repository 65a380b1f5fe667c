// SPDX-License-Identifier: Apache-2.0
// Selection by coverage against keys that are really there.
#include <pikv/policies/selection/cover.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include <pikv/policies/selection/selection_policy.hpp>

#include "support.hpp"

namespace pikv::policies::testing {
namespace {

using list = std::vector<std::uint32_t>;

list cover(const std::vector<float>& shares, const std::vector<std::uint8_t>& allowed,
           double always, double target, std::size_t least = 0) {
  list workspace, chosen{77}; // what is there stays
  select_cover(shares, allowed, always, target, least, workspace, chosen);
  EXPECT_EQ(chosen.front(), 77u);
  chosen.erase(chosen.begin());
  return chosen;
}

TEST(select_cover, reads_nothing_where_the_rest_is_enough) {
  EXPECT_EQ(cover({.05F, .05F}, {}, .9, .9), list{});
}

TEST(select_cover, takes_the_largest_until_they_reach_the_target) {
  EXPECT_EQ(cover({.1F, .3F, .05F, .2F}, {}, .35, .8), (list{1, 3}));
  EXPECT_EQ(cover({.1F, .3F, .05F, .2F}, {}, .35, .9), (list{0, 1, 3}));
}

TEST(select_cover, takes_all_that_are_allowed_where_they_are_not_enough) {
  EXPECT_EQ(cover({.1F, .3F, .05F, .2F}, {1, 0, 1, 0}, .35, .9), (list{0, 2}));
  EXPECT_EQ(cover({.1F, .3F}, {}, .6, 1), (list{0, 1}));
}

TEST(select_cover, counts_nan_as_nothing_and_prefers_the_lower_of_equals) {
  EXPECT_EQ(cover({std::nanf(""), .2F, .2F, .2F}, {}, .4, .75), (list{1, 2}));
}

TEST(select_cover, takes_at_least_so_many_of_the_largest) {
  EXPECT_EQ(cover({.1F, .3F, .05F, .2F}, {}, .9, .9, 2), (list{1, 3}));
  EXPECT_EQ(cover({.1F, .3F, .05F, .2F}, {1, 0, 1, 1}, .9, .9, 2), (list{0, 3}));
  EXPECT_EQ(cover({.1F, .3F, .05F, .2F}, {}, .35, .9, 2), (list{0, 1, 3})); // the target needs more
  EXPECT_EQ(cover({.1F, .3F}, {}, .6, .6, 5), (list{0, 1}));
}

TEST(select_cover, is_the_smallest_set_of_all_subsets) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> unit(0, 1);
  for (int i = 0; i < 2000; ++i) {
    std::vector<float> shares(1 + random() % 10);
    std::vector<std::uint8_t> allowed(shares.size());
    for (auto& x : shares)
      x = std::pow(unit(random), 4.0F);
    for (auto& x : allowed)
      x = random() % 4 != 0;
    const double always = static_cast<double>(unit(random));
    const auto sum = std::accumulate(shares.begin(), shares.end(), 0.0F);
    for (auto& x : shares)
      x *= (1 - static_cast<float>(always)) / sum;
    const double target = static_cast<double>(unit(random));
    std::size_t fewest = shares.size() + 1;
    for (std::uint32_t set = 0; set < (1U << shares.size()); ++set) {
      double covered = always;
      std::size_t n = 0;
      for (std::size_t p = 0; p < shares.size(); ++p)
        if ((set >> p & 1U) != 0) {
          covered += allowed[p] != 0 ? static_cast<double>(shares[p]) : -9.0;
          ++n;
        }
      if (covered >= target)
        fewest = std::min(fewest, n);
    }
    const auto chosen = cover(shares, allowed, always, target);
    EXPECT_TRUE(std::ranges::is_sorted(chosen));
    double covered = always;
    for (auto p : chosen) {
      EXPECT_EQ(allowed[p], 1);
      covered += static_cast<double>(shares[p]);
    }
    if (fewest <= shares.size()) {
      EXPECT_GE(covered, target);
      EXPECT_EQ(chosen.size(), fewest);
    } else {
      EXPECT_EQ(static_cast<std::ptrdiff_t>(chosen.size()), std::ranges::count(allowed, 1));
    }
  }
}

TEST(mean_softmax, counts_the_rest_beside_the_pages) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal(0, 4);
  for (int i = 0; i < 300; ++i) {
    const std::size_t heads = 1 + random() % 4, pages = 1 + random() % 40;
    std::vector<float> scores(heads * pages), rest(heads), shares(pages);
    for (auto& x : scores)
      x = normal(random);
    for (auto& x : rest)
      x = random() % 5 == 0 ? -std::numeric_limits<float>::infinity() : normal(random);
    mean_softmax(scores.data(), heads, pages, shares, rest.data());
    for (std::size_t p = 0; p < pages; ++p) {
      double want = 0;
      for (std::size_t h = 0; h < heads; ++h) {
        double sum = std::exp(static_cast<double>(rest[h]));
        for (std::size_t x = 0; x < pages; ++x)
          sum += std::exp(static_cast<double>(scores[h * pages + x]));
        want +=
            std::exp(static_cast<double>(scores[h * pages + p])) / sum / static_cast<double>(heads);
      }
      EXPECT_NEAR(shares[p], want, 2e-6);
    }
  }
}

/// Random keys in pages, with what a summary knows of them.
struct random_keys {
  std::size_t heads, pages, dim = 8, tokens = 16;
  std::vector<double> mass; ///< `[heads, pages]`, true
  std::vector<float> bounds, rest;
  std::vector<double> always; ///< `[heads]`, true

  explicit random_keys(std::mt19937& random) : heads(1 + random() % 4), pages(1 + random() % 20) {
    std::normal_distribution<double> normal;
    std::vector<double> q(heads * dim);
    for (auto& x : q)
      x = 1.5 * normal(random);
    const auto logit = [&](std::size_t h, const std::vector<double>& k) {
      double sum = 0;
      for (std::size_t c = 0; c < dim; ++c)
        sum += q[h * dim + c] * k[c];
      return sum / std::sqrt(static_cast<double>(dim));
    };
    mass.assign(heads * pages, 0);
    bounds.assign(heads * pages, 0);
    always.assign(heads, 0);
    for (std::size_t p = 0; p <= pages; ++p) { // the last one is read in any case
      std::vector<double> low(dim, 1e9), high(dim, -1e9);
      const double centre = 1.5 * normal(random);
      for (std::size_t t = 0; t < tokens; ++t) {
        std::vector<double> k(dim);
        for (std::size_t c = 0; c < dim; ++c) {
          k[c] = centre + .1 * normal(random);
          low[c] = std::min(low[c], k[c]);
          high[c] = std::max(high[c], k[c]);
        }
        for (std::size_t h = 0; h < heads; ++h)
          (p == pages ? always[h] : mass[h * pages + p]) += std::exp(logit(h, k));
      }
      for (std::size_t h = 0; h < heads && p < pages; ++h) {
        double bound = 0;
        for (std::size_t c = 0; c < dim; ++c)
          bound += std::max(q[h * dim + c] * low[c], q[h * dim + c] * high[c]);
        bounds[h * pages + p] = static_cast<float>(std::log(static_cast<double>(tokens))
                                                   + bound / std::sqrt(static_cast<double>(dim)));
      }
    }
    for (std::size_t h = 0; h < heads; ++h)
      rest.push_back(static_cast<float>(std::log(always[h])));
  }

  double coverage(const list& chosen) const {
    double sum = 0;
    for (std::size_t h = 0; h < heads; ++h) {
      double all = always[h], read = always[h];
      for (std::size_t p = 0; p < pages; ++p) {
        all += mass[h * pages + p];
        if (std::ranges::find(chosen, p) != chosen.end())
          read += mass[h * pages + p];
      }
      sum += read / all;
    }
    return sum / static_cast<double>(heads);
  }
};

TEST(select_certified, never_misses_more_than_it_says) {
  std::mt19937 random(3);
  std::size_t read = 0, pages = 0;
  for (int i = 0; i < 3000; ++i) {
    const random_keys x{random};
    std::vector<float> shares(x.pages);
    mean_softmax(x.bounds.data(), x.heads, x.pages, shares, x.rest.data());
    const double target = std::uniform_real_distribution<>(.5, .999)(random);
    list workspace, chosen;
    EXPECT_TRUE(select_certified(x.bounds.data(), x.heads, x.pages, x.rest, shares, {}, target,
                                 workspace, chosen));
    EXPECT_TRUE(std::ranges::is_sorted(chosen));
    EXPECT_GE(x.coverage(chosen), target - 1e-6);
    read += chosen.size();
    pages += x.pages;
  }
  EXPECT_LT(read, pages * 19 / 20); // loose, and good for something
}

TEST(select_certified, reads_all_where_what_is_not_allowed_leaves_too_much) {
  const std::vector<float> bounds{3, 0, 0}, rest{0}, shares{.8F, .1F, .1F};
  list workspace, chosen;
  EXPECT_FALSE(select_certified(bounds.data(), 1, 3, rest, shares,
                                std::vector<std::uint8_t>{0, 1, 1}, .9, workspace, chosen));
  EXPECT_EQ(chosen, (list{1, 2}));
}

TEST(select_certified, reads_nothing_where_the_rest_dwarfs_the_bounds) {
  const std::vector<float> bounds{-500, -400}, rest{300}, shares{0, 0};
  list workspace, chosen;
  EXPECT_TRUE(select_certified(bounds.data(), 1, 2, rest, shares, {}, .99999, workspace, chosen));
  EXPECT_TRUE(chosen.empty());
}

TEST(select_certified, trusts_no_bound_that_is_not_a_number) {
  const std::vector<float> bounds{std::nanf(""), -4}, rest{0}, shares{.1F, .1F};
  list workspace, chosen;
  select_certified(bounds.data(), 1, 2, rest, shares, {}, .5, workspace, chosen);
  EXPECT_TRUE(std::ranges::find(chosen, 0u) != chosen.end());
}

TEST(mass_selection, with_a_coverage_leaves_the_number_of_pages_open) {
  const auto x = must_make(selection_table(), "mass", {{"coverage", .97}});
  EXPECT_EQ(x->coverage(), .97);
  EXPECT_FALSE(x->budget()); // no device can do that by itself
  EXPECT_EQ(x->pages_to_read(100), 100u);
  EXPECT_EQ(x->score(), page_score::mass);
  EXPECT_FALSE(x->certified());
  EXPECT_EQ(x->least_pages(100), 0u);
}

TEST(mass_selection, reads_a_least_share_of_the_pages_rounded_up) {
  const auto x = must_make(selection_table(), "mass", {{"coverage", .97}, {"least", .03125}});
  EXPECT_EQ(x->least_pages(0), 0u);
  EXPECT_EQ(x->least_pages(1), 1u);
  EXPECT_EQ(x->least_pages(64), 2u);
  EXPECT_EQ(x->least_pages(65), 3u);
}

TEST(mass_selection, certifies_by_the_bound) {
  const auto x = must_make(selection_table(), "mass", {{"coverage", .97}, {"certified", true}});
  EXPECT_TRUE(x->certified());
  EXPECT_EQ(x->score(), page_score::quest);
  EXPECT_FALSE(must_make(selection_table(), "mass", {{"certified", true}})->certified());
}

} // namespace
} // namespace pikv::policies::testing
