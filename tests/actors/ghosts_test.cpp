// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/scheduler/ghosts.hpp>

#include <algorithm>
#include <map>
#include <random>

#include <gtest/gtest.h>

#include <pikv/gpu/page_layout.hpp>

namespace {

using namespace pikv;

constexpr page_geometry geometry{4, 16, 32};
constexpr std::uint32_t layers = 2;

std::shared_ptr<const policy_set> policies_with(const std::string& live, const std::string& ghosts,
                                                std::uint64_t version = 1) {
  config::settings s;
  s.cache.page_tokens = geometry.page_tokens;
  s.cache.window = geometry.window;
  s.scheduling.name = live;
  s.budget.options.set("tokens", std::int64_t{400});
  s.ghosts.policies = ghosts;
  auto made = make_policy_set(s, {layers, 2, 1, 64, 0}, version);
  EXPECT_TRUE(made.ok()) << (made ? "" : made.error().what);
  return *made;
}

/// A fixed pattern of work on three sequences: pages settle, and attends read pages, some often and
/// some never, whether or not anyone still has them.
struct event {
  settled_event settled;
  attended_event attended;
};

std::vector<event> pattern(std::uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::map<std::pair<std::uint64_t, std::uint32_t>, std::uint32_t> pages;
  std::vector<event> out;
  for (int i = 0; i < 4000; ++i) {
    const sequence_id sequence{1 + rng() % 3};
    const auto layer = static_cast<std::uint32_t>(rng() % layers);
    auto& n = pages[{sequence.value, layer}];
    event e{{1, layer, sequence, 0, {}}, {layer, sequence, 1, {}}};
    if (rng() % 8 == 0 && n < 90) {
      const auto number = [&](unsigned most) { return static_cast<float>(rng() % most); };
      e.settled.pages.push_back({sequence,
                                 n,
                                 {},
                                 {},
                                 form::f16,
                                 1,
                                 {key_fact_norm | key_fact_likeness | key_fact_reach, number(50),
                                  number(100) / 100, number(50)}});
      ++n;
    }
    e.settled.entries = geometry.sinks + geometry.window + n * geometry.page_tokens;
    for (std::uint32_t p = 0; p < n; ++p)
      if (rng() % (2 + (p * 7 + layer) % 23) == 0)
        e.attended.pages.push_back({p, 1, static_cast<float>(rng() % 100) / 1000});
    out.push_back(std::move(e));
  }
  return out;
}

std::uint64_t limit_of(const policy_set& policies, const settled_event& e) {
  return policies.budget->entries({e.layer, e.entries, {}});
}

/// What the scheduler does when the policy is the live one.
use_count run_live(const policy_set& policies, const std::vector<event>& events) {
  page_ledger ledger{geometry.page_tokens};
  use_count sum;
  for (const auto& e : events) {
    if (!e.settled.pages.empty()) {
      ledger.settled(e.settled, geometry.sinks);
      const auto over = pages_over_budget(
          ledger, geometry, e.settled, limit_of(policies, e.settled));
      ledger.take_lowest(e.settled.sequence, e.settled.layer, over, *policies.scheduling);
    }
    const auto x = ledger.attended(e.attended, [](std::uint64_t) {});
    sum.kept += x.kept;
    sum.missed += x.missed;
  }
  return sum;
}

std::map<std::string, use_count> run_ghosts(const std::string& live, const std::string& names,
                                            const std::vector<event>& events) {
  const auto policies = policies_with(live, names);
  page_ledger ledger{geometry.page_tokens};
  ghost_set ghosts;
  ghosts.follow(policies, ledger);
  std::map<std::string, use_count> sums;
  for (const auto& e : events) {
    if (!e.settled.pages.empty())
      ghosts.settled(e.settled, geometry, limit_of(*policies, e.settled));
    ghosts.attended(e.attended, [&](std::string_view name, const use_count& x) {
      sums[std::string{name}].kept += x.kept;
      sums[std::string{name}].missed += x.missed;
    });
  }
  return sums;
}

double hit_rate(const use_count& x) {
  return static_cast<double>(x.kept) / static_cast<double>(x.kept + x.missed);
}

/// To half a point, on the same reads: also for those that were evicted.
TEST(ghosts, have_the_hit_rate_of_a_real_run_of_their_policy) {
  const std::string all[] = {"lru",  "lru_plus", "lfu",     "h2o",      "streaming", "tova",
                             "snap", "quest",    "flexgen", "key_norm", "key_diff"};
  for (std::uint64_t seed : {1U, 2U, 3U}) {
    const auto events = pattern(seed);
    std::map<std::string, use_count> got;
    for (const auto* part : {"lru, lru_plus, lfu, h2o, streaming, tova", // at most 8 at once
                             "snap, quest, flexgen, key_norm, key_diff"})
      for (const auto& [name, x] : run_ghosts("streaming", part, events))
        got[name] = x;
    double least = 1, most = 0;
    for (const auto& name : all) {
      const auto want = run_live(*policies_with(name, ""), events);
      ASSERT_TRUE(got.contains(name));
      EXPECT_EQ(got[name].kept + got[name].missed, want.kept + want.missed) << name;
      EXPECT_NEAR(hit_rate(got[name]), hit_rate(want), 0.005) << name;
      least = std::min(least, hit_rate(want));
      most = std::max(most, hit_rate(want));
    }
    EXPECT_GT(most - least, 0.05) << "the pattern does not tell the policies apart";
  }
}

TEST(ghosts, a_reload_keeps_the_old_ones_and_starts_new_ones_with_what_is_kept) {
  page_ledger live{geometry.page_tokens};
  ghost_set ghosts;
  ghosts.follow(policies_with("lru", "lfu"), live);
  settled_event e{1, 0, {1}, 100, {{{1}, 0, {}, {}, form::f16, 1, {}}}};
  live.settled(e, geometry.sinks);
  ghosts.settled(e, geometry, policies::unlimited_entries);
  ghosts.reclaimed({0}, 1); // the live policy let a page of that device go: so do ghosts
  ghosts.follow(policies_with("lru", "streaming, lfu", 2), live);
  std::map<std::string, use_count> seen;
  ghosts.attended({0, {1}, 1, {{0, 1, 0}}},
                  [&](std::string_view name, const use_count& x) { seen[std::string{name}] = x; });
  ASSERT_EQ(seen.size(), 2U);
  EXPECT_EQ(seen["lfu"].missed, 1U);
  EXPECT_EQ(seen["streaming"].kept, 1U);
  ghosts.follow(policies_with("lru", "", 3), live);
  EXPECT_TRUE(ghosts.empty());
}

TEST(policy_set, asks_for_what_its_ghosts_need) {
  EXPECT_FALSE(policies_with("streaming", "")->wants_mass);
  EXPECT_FALSE(policies_with("streaming", "")->wants_reads);
  const auto x = policies_with("streaming", "h2o, lru, key_norm, quest");
  EXPECT_TRUE(x->wants_mass);
  EXPECT_TRUE(x->wants_reads);
  EXPECT_EQ(x->key_facts_wanted, key_fact_norm | key_fact_reach);
  EXPECT_EQ(x->summary_parts, gpu::summary_mean_var | gpu::summary_min_max);
}

} // namespace
