// SPDX-License-Identifier: Apache-2.0
// mean_softmax and select_top against float64 and a stable sort.
#include <pikv/policies/selection/selection_policy.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

namespace pikv::policies {
namespace {

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

std::vector<double> reference_shares(const std::vector<float>& scores, std::size_t heads,
                                     std::size_t stride, std::size_t pages) {
  std::vector<double> out(pages, 0);
  for (std::size_t h = 0; h < heads; ++h) {
    const auto* row = scores.data() + h * stride;
    const double top = pages == 0 ? 0 : *std::max_element(row, row + pages);
    if (pages == 0 || top == -inf)
      continue;
    double sum = 0;
    for (std::size_t p = 0; p < pages; ++p)
      sum += std::exp(row[p] - top);
    for (std::size_t p = 0; p < pages; ++p)
      out[p] += std::exp(row[p] - top) / sum / static_cast<double>(heads);
  }
  return out;
}

std::vector<float> shares_of(const std::vector<float>& scores, std::size_t heads,
                             std::size_t stride, std::size_t pages) {
  std::vector<float> out(pages, 99); // overwritten
  mean_softmax(scores.data(), heads, stride, out);
  return out;
}

std::vector<std::uint32_t> reference_top(const std::vector<float>& shares,
                                         const std::vector<std::uint8_t>& allowed,
                                         std::size_t count) {
  std::vector<std::uint32_t> order;
  for (std::uint32_t i = 0; i < shares.size(); ++i)
    if (allowed.empty() || allowed[i] != 0)
      order.push_back(i);
  std::ranges::stable_sort(order, std::greater{}, [&](std::uint32_t i) { return shares[i]; });
  order.resize(std::min(count, order.size()));
  std::ranges::sort(order);
  return order;
}

std::vector<std::uint32_t> top(const std::vector<float>& shares, std::size_t count,
                               const std::vector<std::uint8_t>& allowed = {}) {
  std::vector<std::uint32_t> workspace;
  std::vector<std::uint32_t> chosen;
  select_top(shares, allowed, count, workspace, chosen);
  return chosen;
}

TEST(mean_softmax, agrees_with_float64) {
  std::mt19937 random(5);
  for (int round = 0; round < 400; ++round) {
    const std::size_t pages = random() % 300;
    const std::size_t heads = 1 + random() % 8;
    const std::size_t stride = pages + random() % 5;
    std::normal_distribution<float> normal(-20, static_cast<float>(1 + random() % 10));
    std::vector<float> scores(heads * stride);
    for (auto& x : scores)
      x = random() % 10 == 0 ? -inf : normal(random);
    const auto expected = reference_shares(scores, heads, stride, pages);
    const auto got = shares_of(scores, heads, stride, pages);
    for (std::size_t p = 0; p < pages; ++p)
      ASSERT_NEAR(got[p], expected[p], 3e-6 * expected[p] + 1e-36) << pages << " " << heads;
  }
}

TEST(mean_softmax, sums_to_one) {
  std::mt19937 random(6);
  std::normal_distribution<float> normal(0, 5);
  for (std::size_t pages = 1; pages < 100; ++pages) {
    std::vector<float> scores(2 * pages);
    for (auto& x : scores)
      x = normal(random);
    const auto got = shares_of(scores, 2, pages, pages);
    EXPECT_NEAR(std::accumulate(got.begin(), got.end(), 0.0), 1, 1e-5);
  }
}

TEST(mean_softmax, gives_no_share_to_pages_that_are_gone) {
  EXPECT_EQ(shares_of({-inf, 3, -inf, 3}, 1, 4, 4), (std::vector<float>{0, .5f, 0, .5f}));
}

TEST(mean_softmax, gives_no_share_where_all_pages_are_gone) {
  EXPECT_EQ(shares_of(std::vector<float>(20, -inf), 1, 20, 20), std::vector<float>(20, 0));
}

TEST(mean_softmax, survives_large_scores) {
  EXPECT_EQ(shares_of({3e38f, -3e38f, 3e38f}, 1, 3, 3), (std::vector<float>{.5f, 0, .5f}));
}

TEST(mean_softmax, reads_nan_as_gone_and_infinity_as_the_largest) {
  EXPECT_EQ(shares_of({nan, 1, nan, nan}, 1, 4, 4), (std::vector<float>{0, 1, 0, 0}));
  EXPECT_EQ(shares_of({inf, 1, inf, 2}, 1, 4, 4), (std::vector<float>{.5f, 0, .5f, 0}));
}

TEST(mean_softmax, does_not_depend_on_what_follows_the_pages) {
  const std::vector<float> a{1, 2, 3, 1000, 1, 2, 3, 1000};
  const std::vector<float> b{1, 2, 3, nan, 1, 2, 3, -5};
  EXPECT_EQ(shares_of(a, 2, 4, 3), shares_of(b, 2, 4, 3));
}

TEST(mean_softmax, takes_no_pages) { EXPECT_TRUE(shares_of({}, 1, 0, 0).empty()); }

TEST(select_top, agrees_with_a_stable_sort) {
  std::mt19937 random(9);
  std::uniform_real_distribution<float> uniform;
  std::vector<std::uint32_t> workspace;
  for (int round = 0; round < 3000; ++round) {
    const std::size_t pages = random() % 300;
    const auto levels = random() % 3 == 0 ? 1 + random() % 6 : 0; // few levels make many ties
    std::vector<float> shares(pages);
    for (auto& x : shares)
      x = levels > 0 ? static_cast<float>(random() % levels) : std::exp(-40 * uniform(random));
    std::vector<std::uint8_t> allowed(random() % 2 == 0 ? 0 : pages);
    for (auto& x : allowed)
      x = static_cast<std::uint8_t>(random() % 3);
    const std::size_t count = random() % (pages + 10);
    std::vector<std::uint32_t> chosen;
    select_top(shares, allowed, count, workspace, chosen);
    ASSERT_EQ(chosen, reference_top(shares, allowed, count)) << pages << " " << count;
  }
}

TEST(select_top, orders_negative_numbers_and_infinities) {
  const std::vector<float> shares{-1, -inf, -2, inf, 0, -0.0f, 1e-45f};
  EXPECT_EQ(top(shares, 1), (std::vector<std::uint32_t>{3}));
  EXPECT_EQ(top(shares, 2), (std::vector<std::uint32_t>{3, 6}));
  EXPECT_EQ(top(shares, 5), (std::vector<std::uint32_t>{0, 3, 4, 5, 6}));
  EXPECT_EQ(top(shares, 6), (std::vector<std::uint32_t>{0, 2, 3, 4, 5, 6}));
}

TEST(select_top, treats_both_zeros_alike) {
  EXPECT_EQ(top({-0.0f, 0.0f, -0.0f}, 2), (std::vector<std::uint32_t>{0, 1}));
}

TEST(select_top, takes_nan_last) {
  EXPECT_EQ(top({nan, -inf, nan}, 1), (std::vector<std::uint32_t>{1}));
  EXPECT_EQ(top({nan, -inf, nan}, 2), (std::vector<std::uint32_t>{0, 1}));
}

TEST(select_top, appends_to_what_was_chosen) {
  std::vector<std::uint32_t> workspace;
  std::vector<std::uint32_t> chosen{42};
  select_top(std::vector<float>{1, 3, 2}, {}, 2, workspace, chosen);
  EXPECT_EQ(chosen, (std::vector<std::uint32_t>{42, 1, 2}));
}

TEST(select_top, takes_all_allowed_where_fewer_than_wanted) {
  EXPECT_EQ(top({1, 2, 3, 4}, 3, {0, 1, 0, 1}), (std::vector<std::uint32_t>{1, 3}));
  EXPECT_TRUE(top({1, 2}, 2, {0, 0}).empty());
}

TEST(select_top, takes_no_pages) { EXPECT_TRUE(top({}, 4).empty()); }

TEST(select_top, does_not_allocate_after_warm_up) {
  std::vector<std::uint32_t> workspace;
  std::vector<std::uint32_t> chosen;
  const std::vector<float> shares(250, 1.0f);
  select_top(shares, {}, 32, workspace, chosen);
  const auto* first = workspace.data();
  const auto* list = chosen.data();
  for (int i = 0; i < 10; ++i) {
    chosen.clear();
    select_top(shares, {}, 32, workspace, chosen);
  }
  EXPECT_EQ(workspace.data(), first);
  EXPECT_EQ(chosen.data(), list);
}

} // namespace
} // namespace pikv::policies
