// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/scheduler/layer_shares.hpp>

#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace {

using namespace pikv;

/// An attend of one row whose pages together have `mass`.
attended_event reading(std::uint32_t layer, double mass, std::uint32_t rows = 1) {
  const auto half = static_cast<float>(mass * rows / 2);
  return {layer, {1}, rows, {{0, rows, half}, {7, rows, half}}};
}

void feed(layer_shares& x, std::initializer_list<double> masses, int times) {
  for (int i = 0; i < times; ++i)
    for (std::uint32_t l = 0; l < masses.size(); ++l)
      x.attended(reading(l, masses.begin()[l]));
}

TEST(layer_shares, are_unknown_until_every_layer_was_heard_often_enough) {
  layer_shares x{2};
  feed(x, {0.5}, 1000);
  EXPECT_TRUE(x.in_force().empty());
  for (std::uint32_t i = 0; i < layer_shares::warm_up; ++i) {
    EXPECT_TRUE(x.in_force().empty());
    x.attended(reading(1, 0.25));
  }
  ASSERT_EQ(x.in_force().size(), 2U);
  EXPECT_NEAR(x.in_force()[0], 2.0 / 3, 1e-6);
}

TEST(layer_shares, count_mass_per_row_and_only_attends_with_old_pages) {
  layer_shares x{2};
  for (int i = 0; i < 100; ++i) {
    x.attended(reading(0, 0.3, 64));
    x.attended({0, {1}, 1, {}});
    x.attended({9, {1}, 1, {{0, 1, 1}}}); // no such layer
    x.attended(reading(1, 0.1));
  }
  EXPECT_NEAR(x.in_force()[0], 0.75, 1e-5);
}

TEST(layer_shares, stay_while_they_are_nearly_right_and_follow_slowly) {
  layer_shares x{2};
  feed(x, {0.5, 0.5}, 1000);
  feed(x, {0.52, 0.48}, 5000);
  EXPECT_EQ(x.in_force()[0], 0.5) << "within the band";
  feed(x, {0.9, 0.1}, 10);
  EXPECT_EQ(x.in_force()[0], 0.5) << "ten attends are no reason";
  feed(x, {0.9, 0.1}, 5000);
  EXPECT_NEAR(x.in_force()[0], 0.9, 0.01 + layer_shares::band * 0.1);
}

TEST(layer_shares, noise_around_a_mean_does_not_move_them) {
  std::mt19937 rng(1);
  std::uniform_real_distribution<double> around(0.4, 0.6);
  layer_shares x{3};
  int moves = 0;
  std::vector<double> last;
  for (int i = 0; i < 20000; ++i) {
    for (std::uint32_t l = 0; l < 3; ++l)
      x.attended(reading(l, around(rng)));
    const std::vector<double> now{x.in_force().begin(), x.in_force().end()};
    moves += i > 2000 && now != last;
    last = now;
    if (!now.empty()) {
      ASSERT_NEAR(std::accumulate(now.begin(), now.end(), 0.0), 1, 1e-9);
    }
  }
  EXPECT_EQ(moves, 0);
}

TEST(layer_shares, survive_masses_that_are_no_numbers) {
  layer_shares x{2};
  feed(x, {0.5, 0.5}, 100);
  x.attended(reading(0, std::numeric_limits<double>::quiet_NaN()));
  feed(x, {0.5, 0.5}, 100);
  EXPECT_EQ(x.in_force()[0], 0.5);
}

} // namespace
