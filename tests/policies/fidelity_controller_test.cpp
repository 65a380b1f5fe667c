// SPDX-License-Identifier: Apache-2.0
// The controller against a plain simulation of rows: each has a share of its mass in its window and
// the rest in pages, and reads the largest pages until it has what it is told.
#include <pikv/policies/fidelity/controller.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

namespace pikv::policies::testing {
namespace {

struct outcome {
  double missed = 0;
  double read_share = 0;
};

class simulation {
public:
  explicit simulation(std::uint32_t seed) : random_(seed) {}

  /// A row of a layer: the deeper the layer, the more of its mass is old.
  outcome row(std::uint32_t layer, double told) {
    constexpr std::size_t pages = 40;
    std::vector<double> page(pages);
    double sum = 0;
    for (auto& x : page)
      sum += x = std::exp(2.5 * std::normal_distribution<>{}(random_));
    const double old =
        std::min(.9, std::exp(std::normal_distribution<>{-4.0 + .5 * layer, 1}(random_)));
    std::ranges::sort(page, std::greater{});
    double covered = 1 - old;
    std::size_t read = 0;
    // The estimate is off by a factor that is the row's own.
    const double believed = estimate_bias * std::exp(.3 * std::normal_distribution<>{}(random_));
    while (read < pages && 1 - (1 - covered) * believed < told)
      covered += page[read++] / sum * old;
    covered = std::min(covered, reach); // a route that leaves the rest out
    return {1 - covered, static_cast<double>(read) / pages};
  }

  double estimate_bias = 1; ///< estimated over true missed mass
  double reach = 1;

private:
  std::mt19937 random_;
};

struct run_result {
  double coverage = 0, read_share = 0;
};

/// `audits` audits of 8 rows each, one layer after another; means of the last half.
run_result run(
    simulation& s, fidelity_controller& c, int audits,
    const std::function<double(double missed)>& error = [](double x) { return x; }) {
  run_result out;
  for (int i = 0; i < audits; ++i) {
    const auto layer = static_cast<std::uint32_t>(i % 6);
    outcome mean;
    for (int r = 0; r < 8; ++r) {
      const auto x = s.row(layer, c.coverage());
      mean.missed += x.missed / 8;
      mean.read_share += x.read_share / 8;
    }
    c.observe(layer, c.coverage(), 1 - mean.missed, error(mean.missed));
    if (i >= audits / 2) {
      out.coverage += (1 - mean.missed) / (audits - audits / 2);
      out.read_share += mean.read_share / (audits - audits / 2);
    }
  }
  return out;
}

TEST(fidelity_controller, says_nothing_without_a_target) {
  fidelity_controller c;
  EXPECT_EQ(c.coverage(), 0);
  c.observe(0, .9, .5, .5);
  EXPECT_EQ(c.coverage(), 0);
  EXPECT_TRUE(c.held());
}

TEST(fidelity_controller, begins_near_the_target) {
  fidelity_controller c;
  c.aim({.99, 0});
  EXPECT_NEAR(c.coverage(), .9925, 1e-9);
}

TEST(fidelity_controller, holds_the_mean_inside_the_band_whatever_the_estimates_bias) {
  for (const double target : {.95, .99, .999})
    for (const double bias : {.25, 1.0, 4.0}) {
      simulation s{1};
      s.estimate_bias = bias;
      fidelity_controller c;
      c.aim({target, 0});
      const auto x = run(s, c, 600);
      EXPECT_GE(x.coverage, target) << target << " " << bias;
      EXPECT_LE(x.coverage, (1 + target) / 2 + .05 * (1 - target)) << target << " " << bias;
      EXPECT_TRUE(c.held());
      EXPECT_LT(x.read_share, .9);
    }
}

TEST(fidelity_controller, reads_less_than_a_pessimistic_estimate_asks_for) {
  simulation s{2}, plain{2};
  s.estimate_bias = plain.estimate_bias = 4;
  fidelity_controller c;
  c.aim({.99, 0});
  const auto held = run(s, c, 600);
  double fixed = 0;
  for (int i = 0; i < 3000; ++i)
    fixed += plain.row(static_cast<std::uint32_t>(i % 6), .99).read_share / 3000;
  EXPECT_LT(held.read_share, .75 * fixed);
  EXPECT_GE(held.coverage, .99);
}

TEST(fidelity_controller, a_new_target_takes_effect_at_once_and_is_held) {
  simulation s{3};
  fidelity_controller c;
  c.aim({.99, 0});
  run(s, c, 600);
  const auto before = c.coverage();
  c.aim({.999, 0});
  EXPECT_NEAR(1 - c.coverage(), (1 - before) / 10, .3 * (1 - before) / 10);
  for (int i = 0; i < 300; ++i) {
    run(s, c, 1);
    ASSERT_TRUE(c.held()) << "what was measured before is no miss: audit " << i;
  }
  const auto x = run(s, c, 600);
  EXPECT_GE(x.coverage, .999);
  EXPECT_LE(x.coverage, .9996);
}

TEST(fidelity_controller, holds_a_limit_of_the_output_error) {
  simulation s{4};
  fidelity_controller c;
  c.aim({0, .02});
  double sum = 0;
  int n = 0;
  const auto error = [&](double missed) {
    const auto e = 1.5 * missed;
    sum += e;
    ++n;
    return e;
  };
  run(s, c, 600, error);
  sum = n = 0;
  run(s, c, 600, error);
  EXPECT_LE(sum / n, .02);
  EXPECT_GE(sum / n, .008);
}

TEST(fidelity_controller, the_stricter_of_two_targets_wins) {
  for (const fidelity_target target : {fidelity_target{.99, .5}, fidelity_target{.5, .01}}) {
    simulation s{5};
    fidelity_controller c;
    c.aim(target);
    EXPECT_GE(run(s, c, 600).coverage, .99);
  }
}

TEST(fidelity_controller, moves_little_inside_the_band) {
  simulation s{6};
  fidelity_controller c;
  c.aim({.99, 0});
  run(s, c, 600);
  int moves = 0;
  for (int i = 0; i < 600; ++i) {
    const auto before = c.coverage();
    run(s, c, 1);
    moves += c.coverage() != before;
  }
  EXPECT_LT(moves, 200);
}

TEST(fidelity_controller, says_when_the_target_is_out_of_reach_and_when_it_no_longer_is) {
  simulation s{7};
  s.reach = .97;
  fidelity_controller c;
  c.aim({.99, 0});
  run(s, c, 200);
  EXPECT_FALSE(c.held());
  s.reach = 1;
  run(s, c, 400);
  EXPECT_TRUE(c.held());
  s.reach = .97;
  run(s, c, 200);
  EXPECT_FALSE(c.held());
  c.aim({.9, 0});
  EXPECT_TRUE(c.held());
  run(s, c, 200);
  EXPECT_TRUE(c.held());
}

TEST(fidelity_controller, leaves_out_what_is_not_a_number) {
  fidelity_controller c;
  c.aim({.99, 0});
  for (int i = 0; i < 50; ++i) {
    c.observe(0, .99, std::nan(""), 0);
    c.observe(0, .99, .5, std::numeric_limits<double>::infinity());
    c.observe(0, 0, .5, 0);
  }
  EXPECT_NEAR(c.coverage(), .9925, 1e-9);
}

} // namespace
} // namespace pikv::policies::testing
