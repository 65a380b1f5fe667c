// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/placement/balance.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

namespace pikv::policies::testing {
namespace {

using owners = std::vector<std::uint32_t>;

std::vector<double> random_loads(std::mt19937& random, std::size_t n) {
  std::vector<double> out(n);
  for (auto& x : out)
    x = std::pow(std::uniform_real_distribution<>(0, 1)(random), 4) * 100;
  return out;
}

double heaviest(const std::vector<double>& loads, const owners& pack_of, std::size_t packs) {
  std::vector<double> sum(packs);
  for (std::size_t i = 0; i < loads.size(); ++i)
    sum[pack_of[i]] += loads[i];
  return *std::ranges::max_element(sum);
}

TEST(pack_evenly, gives_each_item_to_the_lightest_pack_that_has_room) {
  EXPECT_EQ(pack_evenly(std::vector<double>{9, 1, 5, 5}, 2), (owners{0, 0, 1, 1}));
  EXPECT_EQ(pack_evenly(std::vector<double>{1, 1, 1, 1}, 2), (owners{0, 1, 0, 1}));
  EXPECT_EQ(pack_evenly(std::vector<double>{}, 3), owners{});
}

TEST(pack_evenly, fills_no_pack_beyond_its_part) {
  std::mt19937 random(1);
  for (int i = 0; i < 500; ++i) {
    const std::size_t n = random() % 40, packs = 1 + random() % 8;
    std::vector<std::size_t> items(packs);
    for (const auto p : pack_evenly(random_loads(random, n), packs))
      ++items.at(p);
    for (const auto x : items)
      EXPECT_LE(x, (n + packs - 1) / packs);
  }
}

TEST(pack_evenly, comes_close_to_the_best_packing_there_is) {
  std::mt19937 random(2);
  double worst = 1, sum = 0;
  constexpr int rounds = 200;
  for (int i = 0; i < rounds; ++i) {
    const auto loads = random_loads(random, 8);
    double best = 1e9; // over all ways to put 4 of 8 into the first of 2 packs
    for (unsigned set = 0; set < 256; ++set) {
      if (std::popcount(set) != 4)
        continue;
      owners x(8);
      for (unsigned k = 0; k < 8; ++k)
        x[k] = set >> k & 1U;
      best = std::min(best, heaviest(loads, x, 2));
    }
    const auto ratio = heaviest(loads, pack_evenly(loads, 2), 2) / best;
    worst = std::max(worst, ratio);
    sum += ratio;
  }
  EXPECT_LT(sum / rounds, 1.05);
  EXPECT_LT(worst, 4.0 / 3); // greedy's bound
}

TEST(replicate_hot, gives_the_next_place_to_the_largest_load_per_replica) {
  // 90 alone, then 90/2 against 40: again the first; then 90/3 = 30 against 40.
  EXPECT_EQ(replicate_hot(std::vector<double>{90, 40, 10}, 6), (owners{0, 1, 2, 0, 0, 1}));
  EXPECT_EQ(replicate_hot(std::vector<double>{1, 1}, 4), (owners{0, 1, 0, 1}));
}

TEST(replicate_hot, lowers_the_largest_load_of_a_place_as_far_as_it_goes) {
  std::mt19937 random(3);
  for (int i = 0; i < 200; ++i) {
    const auto loads = random_loads(random, 4);
    const std::size_t places = 4 + random() % 4;
    std::vector<double> count(4);
    for (const auto x : replicate_hot(loads, places))
      ++count.at(x);
    double got = 0;
    for (std::size_t k = 0; k < 4; ++k)
      got = std::max(got, loads[k] / count[k]);
    double best = 1e9;
    for (std::size_t a = 1; a <= places; ++a)
      for (std::size_t b = 1; a + b <= places; ++b)
        for (std::size_t c = 1; a + b + c < places; ++c) {
          const auto d = static_cast<double>(places - a - b - c);
          best = std::min(
              best, std::max({loads[0] / static_cast<double>(a), loads[1] / static_cast<double>(b),
                              loads[2] / static_cast<double>(c), loads[3] / d}));
        }
    EXPECT_NEAR(got, best, 1e-9);
  }
}

TEST(replicate_hot, then_packing_evens_out_a_load_that_packing_alone_cannot) {
  const std::vector<double> loads{100, 10, 10, 10, 10, 10, 5, 5};
  EXPECT_GE(imbalance(loads, pack_evenly(loads, 4), 4), 2.5);
  const auto item = replicate_hot(loads, 12);
  std::vector<double> each(item.size()), count(loads.size());
  for (const auto x : item)
    ++count[x];
  for (std::size_t i = 0; i < item.size(); ++i)
    each[i] = loads[item[i]] / count[item[i]];
  EXPECT_LT(imbalance(each, pack_evenly(each, 4), 4), 1.15);
}

TEST(rebalance, leaves_what_is_even_enough) {
  const owners now{0, 1, 0, 1};
  EXPECT_EQ(rebalance(std::vector<double>{5, 5, 5, 4}, now, 2, 1.2), now);
  EXPECT_EQ(rebalance(std::vector<double>{0, 0, 0, 0}, now, 2, 1.0), now);
}

TEST(rebalance, leaves_what_it_cannot_mend) {
  EXPECT_EQ(rebalance(std::vector<double>{100, 1, 1, 1}, owners{1, 1, 0, 0}, 2, 1.1),
            (owners{1, 1, 0, 0}));
}

TEST(rebalance, never_worsens_and_keeps_the_names_of_packs_that_stay) {
  std::mt19937 random(4);
  int moved = 0;
  for (int i = 0; i < 500; ++i) {
    const std::size_t devices = 1 + random() % 4, n = devices * (1 + random() % 8);
    const auto loads = random_loads(random, n);
    owners now(n);
    for (std::size_t s = 0; s < n; ++s)
      now[s] = static_cast<std::uint32_t>(s % devices);
    const auto next = rebalance(loads, now, devices, 1.2);
    EXPECT_LE(imbalance(loads, next, devices), imbalance(loads, now, devices) + 1e-9);
    EXPECT_EQ(next, rebalance(loads, now, devices, 1.2));
    EXPECT_EQ(rebalance(loads, next, devices, 1.2), next) << "it comes to rest";
    moved += next != now;
  }
  EXPECT_GT(moved, 100);
}

} // namespace
} // namespace pikv::policies::testing
