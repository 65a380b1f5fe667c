// SPDX-License-Identifier: Apache-2.0
// The routings by a score of each shard against plain float64 references of their formulas.
#include <pikv/policies/routing/routing_policy.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include "support.hpp"

namespace pikv::policies::testing {
namespace {

using route_mask = std::vector<std::uint8_t>;

/// Everything that a query may know, at random; some shards have no pages.
struct random_query {
  std::vector<float> logits, mass, load, misses;
  std::vector<std::uint32_t> pages, owner;
  float always = 0;

  random_query(std::mt19937& random, std::size_t shards, std::uint32_t devices) {
    std::uniform_real_distribution<float> unit(0, 1);
    logits.resize(1 + random() % 32);
    for (auto& x : logits)
      x = 4 * unit(random) - 2;
    always = unit(random);
    float sum = 0;
    for (std::size_t s = 0; s < shards; ++s) {
      pages.push_back(random() % 4 == 0 ? 0 : static_cast<std::uint32_t>(1 + random() % 9));
      mass.push_back(pages[s] == 0 ? 0 : std::exp(4 * unit(random)));
      load.push_back(1000 * unit(random));
      misses.push_back(random() % 2 == 0 ? 0 : 20 * unit(random));
      owner.push_back(static_cast<std::uint32_t>(s) % devices);
      sum += mass[s];
    }
    for (auto& x : mass)
      x *= sum > 0 ? (1 - always) / sum : 0;
  }

  route_query query() const { return {logits, mass, pages, always, load, misses, owner}; }
  std::size_t shards() const { return mass.size(); }
};

route_mask route(const routing_policy& policy, const route_query& query, std::size_t shards) {
  route_mask out(shards, 7);
  policy.route(query, out);
  return out;
}

using score_of = std::function<double(const random_query&, std::size_t shard)>;

/// The k best of the shards that have pages; empty where two scores are too close to call.
route_mask best_by(const random_query& q, std::size_t k, const score_of& score) {
  std::vector<std::pair<double, std::size_t>> order;
  for (std::size_t s = 0; s < q.shards(); ++s)
    if (q.pages[s] > 0)
      order.emplace_back(-score(q, s), s);
  std::ranges::sort(order);
  for (std::size_t i = 1; i < order.size(); ++i)
    if (order[i].first - order[i - 1].first < 1e-5)
      return {};
  route_mask out(q.shards(), 0);
  for (std::size_t i = 0; i < std::min(k, order.size()); ++i)
    out[order[i].second] = 1;
  return out;
}

void expect_best_by(const char* name, const char* weight, double most, std::uint32_t seed,
                    const std::function<score_of(double)>& score) {
  std::mt19937 random(seed);
  int compared = 0;
  for (int i = 0; i < 500; ++i) {
    const random_query q{random, 1 + random() % 40, 1 + static_cast<std::uint32_t>(random() % 4)};
    const auto k = 1 + random() % 12;
    const double w = most * std::uniform_real_distribution<>(0, 1)(random);
    const auto policy =
        must_make(routing_table(), name, {{"k", static_cast<std::int64_t>(k)}, {weight, w}});
    const auto want = best_by(q, k, score(w));
    if (want.empty())
      continue;
    ++compared;
    ASSERT_EQ(route(*policy, q.query(), q.shards()), want) << "k " << k << ", " << weight << w;
  }
  EXPECT_GT(compared, 400);
}

double gate_share(const random_query& q, std::size_t shard) {
  double sum = 0, own = 0;
  for (std::size_t e = 0; e < q.logits.size(); ++e) {
    const auto x = std::exp(static_cast<double>(q.logits[e]));
    sum += x;
    own += e % q.shards() == shard ? x : 0;
  }
  return own / sum;
}

TEST(hybrid_routing, adds_the_gates_share_of_a_shards_experts_to_its_mass) {
  expect_best_by("hybrid", "bonus", 2, 1, [](double bonus) {
    return [bonus](const random_query& q, std::size_t s) {
      return static_cast<double>(q.mass[s]) + bonus * gate_share(q, s);
    };
  });
}

TEST(hybrid_routing, is_mass_where_no_gate_is_known) {
  std::mt19937 random(2);
  for (int i = 0; i < 200; ++i) {
    random_query q{random, 1 + random() % 20, 1};
    q.logits.clear();
    EXPECT_EQ(route(*must_make(routing_table(), "hybrid"), q.query(), q.shards()),
              route(*must_make(routing_table(), "mass"), q.query(), q.shards()));
  }
}

TEST(hybrid_routing, takes_logits_that_are_not_numbers) {
  const auto inf = std::numeric_limits<float>::infinity();
  const std::vector<float> logits{-inf, std::nanf(""), inf, inf}, mass{.2F, .2F, .1F, .1F};
  const auto policy = must_make(routing_table(), "hybrid", {{"k", std::int64_t{2}}});
  EXPECT_EQ(route(*policy, {logits, mass, {}}, 4), (route_mask{0, 0, 1, 1}));
}

TEST(balanced_routing, takes_off_alpha_times_the_load_above_the_mean) {
  expect_best_by("balanced", "alpha", 3, 3, [](double alpha) {
    return [alpha](const random_query& q, std::size_t s) {
      double total = 0, shards = 0;
      for (std::size_t i = 0; i < q.shards(); ++i)
        if (q.pages[i] > 0) {
          total += static_cast<double>(q.load[i]);
          ++shards;
        }
      return static_cast<double>(q.mass[s])
             - alpha * (static_cast<double>(q.load[s]) / total - 1 / shards);
    };
  });
}

TEST(balanced_routing, evens_out_the_load_of_shards_that_are_alike) {
  const auto policy = must_make(routing_table(), "balanced", {{"k", std::int64_t{1}}});
  const std::vector<float> mass(5, .2F);
  std::vector<float> load(5, 0);
  for (int i = 0; i < 100; ++i) {
    const auto mask = route(*policy, {{}, mass, {}, 0, load}, 5);
    for (std::size_t s = 0; s < 5; ++s)
      load[s] += mask[s];
  }
  EXPECT_EQ(load, std::vector<float>(5, 20));
}

TEST(cache_aware_routing, takes_off_lambda_times_the_log_of_the_misses) {
  expect_best_by("cache_aware", "lambda", 2, 4, [](double lambda) {
    return [lambda](const random_query& q, std::size_t s) {
      return std::log(static_cast<double>(q.mass[s]))
             - lambda * std::log(1 + static_cast<double>(q.misses[s]));
    };
  });
}

TEST(hierarchical_routing, reads_the_best_shards_of_the_best_groups) {
  std::mt19937 random(5);
  for (int i = 0; i < 500; ++i) {
    const random_query q{random, 1 + random() % 40, 1};
    const std::size_t k = 1 + random() % 12, groups = 1 + random() % 9, read = 1 + random() % 4;
    const auto policy = must_make(routing_table(), "hierarchical",
                                  {{"k", static_cast<std::int64_t>(k)},
                                   {"groups", static_cast<std::int64_t>(groups)},
                                   {"groups_read", static_cast<std::int64_t>(read)}});
    std::vector<std::pair<double, std::size_t>> scores;
    for (std::size_t g = 0; g < std::min(groups, q.shards()); ++g) {
      std::vector<double> of_group;
      bool any = false;
      for (auto s = g; s < q.shards(); s += std::min(groups, q.shards()))
        if (q.pages[s] > 0) {
          of_group.push_back(static_cast<double>(q.mass[s]));
          any = true;
        }
      std::ranges::sort(of_group, std::greater{});
      of_group.resize(std::min(of_group.size(), (k + read - 1) / read));
      if (any)
        scores.emplace_back(-std::accumulate(of_group.begin(), of_group.end(), 0.0), g);
    }
    std::ranges::sort(scores);
    scores.resize(std::min(scores.size(), read));
    auto inside = q; // only what the chosen groups hold
    for (std::size_t s = 0; s < q.shards(); ++s)
      if (std::ranges::none_of(
              scores, [&](auto& x) { return x.second == s % std::min(groups, q.shards()); }))
        inside.pages[s] = 0;
    const auto want =
        best_by(inside, k, [](const random_query& x, std::size_t s) { return double(x.mass[s]); });
    if (!want.empty()) {
      ASSERT_EQ(route(*policy, q.query(), q.shards()), want);
    }
  }
}

TEST(adaptive_routing, reads_the_fewest_shards_that_reach_the_target) {
  std::mt19937 random(6);
  for (int i = 0; i < 1000; ++i) {
    const random_query q{random, 1 + random() % 12, 1};
    const double target = std::uniform_real_distribution<>(.3, .999)(random);
    const auto policy = must_make(routing_table(), "adaptive", {{"coverage", target}});
    const auto mask = route(*policy, q.query(), q.shards());
    // Every subset of the shards that have pages: the smallest that covers enough.
    std::size_t fewest = 99, readable = 0;
    for (std::uint32_t set = 0; set < (1U << q.shards()); ++set) {
      double covered = static_cast<double>(q.always);
      std::size_t n = 0;
      for (std::size_t s = 0; s < q.shards(); ++s)
        if ((set >> s & 1U) != 0 && q.pages[s] > 0) {
          covered += static_cast<double>(q.mass[s]);
          ++n;
        }
      readable = std::max(readable, n);
      if (covered >= target + 1e-6)
        fewest = std::min(fewest, n);
    }
    double covered = static_cast<double>(q.always);
    std::size_t routed = 0;
    for (std::size_t s = 0; s < q.shards(); ++s)
      if (mask[s] != 0) {
        EXPECT_GT(q.pages[s], 0u);
        covered += static_cast<double>(q.mass[s]);
        ++routed;
      }
    EXPECT_TRUE(covered >= target - 1e-6 || routed == readable) << covered << " of " << target;
    EXPECT_LE(routed, std::max<std::size_t>(1, std::min(fewest, readable)));
  }
}

TEST(adaptive_routing, keeps_to_its_bounds_and_takes_the_target_of_the_query) {
  const std::vector<float> mass{.1F, .2F, .3F, .4F};
  const auto policy =
      must_make(routing_table(), "adaptive",
                {{"coverage", .35}, {"min_k", std::int64_t{2}}, {"max_k", std::int64_t{3}}});
  EXPECT_EQ(route(*policy, {{}, mass, {}}, 4), (route_mask{0, 0, 1, 1}));
  route_query query{{}, mass, {}};
  query.coverage = 1;
  EXPECT_EQ(route(*policy, query, 4), (route_mask{0, 1, 1, 1}));
}

TEST(eplb_routing, takes_shards_of_one_device_only_while_they_are_worth_it) {
  const std::vector<float> mass{.4F, .1F, .3F, .08F};
  const std::vector<std::uint32_t> owner{0, 1, 0, 1};
  const auto run = [&](double alpha) {
    return route(*must_make(routing_table(), "eplb", {{"k", std::int64_t{2}}, {"alpha", alpha}}),
                 {{}, mass, {}, 0, {}, {}, owner}, 4);
  };
  EXPECT_EQ(run(0), (route_mask{1, 0, 1, 0}));
  EXPECT_EQ(run(.5), (route_mask{1, 1, 0, 0})); // the second of device 0 costs .5 / 2 more
}

TEST(eplb_routing, follows_its_formula) {
  std::mt19937 random(8);
  for (int i = 0; i < 300; ++i) {
    const auto devices = 1 + static_cast<std::uint32_t>(random() % 4);
    const random_query q{random, devices + random() % 20, devices};
    const auto k = 1 + random() % 8;
    const double alpha = std::uniform_real_distribution<>(0, 2)(random);
    std::vector<double> work(devices);
    double total = 0;
    for (std::size_t s = 0; s < q.shards(); ++s) {
      work[q.owner[s]] += static_cast<double>(q.load[s]);
      total += static_cast<double>(q.load[s]);
    }
    const double step = total / static_cast<double>(k);
    route_mask want(q.shards(), 0);
    bool close = false;
    for (std::size_t n = 0; n < k; ++n) {
      double best = -1e9, second = -1e9;
      std::size_t at = q.shards();
      for (std::size_t s = 0; s < q.shards(); ++s)
        if (q.pages[s] > 0 && want[s] == 0) {
          const auto x =
              static_cast<double>(q.mass[s]) - alpha * (work[q.owner[s]] / total - 1.0 / devices);
          second = std::max(second, std::min(x, best));
          if (x > best) {
            best = x;
            at = s;
          }
        }
      if (at == q.shards())
        break;
      close = close || best - second < 1e-4;
      want[at] = 1;
      work[q.owner[at]] += step;
      total += step;
    }
    const auto policy =
        must_make(routing_table(), "eplb", {{"k", static_cast<std::int64_t>(k)}, {"alpha", alpha}});
    if (!close) {
      ASSERT_EQ(route(*policy, q.query(), q.shards()), want);
    }
  }
}

TEST(score_routings, ask_for_what_they_use) {
  const auto made = [](const char* name) { return must_make(routing_table(), name); };
  for (const auto* name :
       {"adaptive", "hybrid", "balanced", "cache_aware", "hierarchical", "eplb"}) {
    EXPECT_TRUE(made(name)->needs_mass()) << name;
    EXPECT_FALSE(made(name)->rule()) << name;
    EXPECT_EQ(made(name)->needs_gate(), std::string{name} == "hybrid");
    EXPECT_EQ(made(name)->needs_total(), std::string{name} == "adaptive");
    EXPECT_EQ(made(name)->needs_misses(), std::string{name} == "cache_aware");
  }
  EXPECT_TRUE(made("balanced")->needs_load());
  EXPECT_TRUE(made("eplb")->needs_load());
}

} // namespace
} // namespace pikv::policies::testing
