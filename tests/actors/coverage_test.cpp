// SPDX-License-Identifier: Apache-2.0
// Selection and routing by a coverage target, against float64 attention over everything.
#include <gtest/gtest.h>

#include "support/cache_harness.hpp"

namespace pikv::test {
namespace {

config::settings settings_for(std::uint32_t devices, policy_choice selection) {
  auto s = small_settings();
  s.devices.count = devices;
  s.cache.stored = dtype::f32;
  s.cache.page_tokens = 8;
  s.selection = std::move(selection);
  return s;
}

/// Mean over the query heads `head ... + heads` of the share of the row's mass that was read.
double coverage(const cache_harness& h, const pending_attend& a, std::uint32_t row,
                std::uint32_t head, std::uint32_t heads) {
  double sum = 0;
  for (std::uint32_t i = head; i < head + heads; ++i) {
    const auto full = h.dense(a, row, i, [](std::uint32_t) { return true; });
    sum += std::exp(static_cast<double>(a.lse[std::size_t{row} * h.shape().query_heads + i])
                    - full.lse);
  }
  return sum / heads;
}

struct measured {
  double least = 1, mean = 0; ///< coverage of a (row, scope)
  entry_account entries;
  std::vector<std::uint64_t> read; ///< by attend
  int rows = 0;
};

/// Grows one sequence in chunks of several sizes and attends each chunk's last rows.
measured run(const config::settings& s, bool shared, std::uint64_t seed, float k_sigma,
             float q_sigma) {
  cache_harness h{s, {1, 4, 2, 32, 0}, seed};
  h.plain_buffers = true;
  h.k_sigma = k_sigma;
  h.q_sigma = q_sigma;
  h.open();
  measured m;
  while (h.sequences[0].layers[0].tokens < 400) {
    h.fill(0, 0, 1 + h.pick(40));
    const auto end = h.sequences[0].layers[0].tokens;
    const auto rows = std::min(end, 5U);
    auto a = h.attend(0, {{0, end - rows, rows}});
    const auto& report = a.done.wait();
    EXPECT_TRUE(report.ok()) << (report ? "" : to_string(report.error()));
    if (!report)
      return m;
    EXPECT_TRUE(report->entries.adds_up());
    m.entries += report->entries;
    m.read.push_back(report->entries.read);
    const auto heads = shared ? 4U : 2U;
    for (std::uint32_t row = 0; row < rows; ++row)
      for (std::uint32_t head = 0; head < 4; head += heads, ++m.rows) {
        const auto c = coverage(h, a, row, head, heads);
        m.least = std::min(m.least, c);
        m.mean += c;
      }
  }
  m.mean /= m.rows;
  return m;
}

policy_choice by_coverage(double target, bool certified, bool shared) {
  return choose("mass", {{"coverage", target},
                         {"certified", certified},
                         {"heads", std::string{shared ? "shared" : "per_kv_head"}}});
}

TEST(coverage_selection, reaches_the_target_by_the_estimate_with_some_entries_unread) {
  for (const std::uint32_t devices : {1U, 3U})
    for (const bool shared : {false, true})
      for (const double target : {.8, .95, .99}) {
        const auto m =
            run(settings_for(devices, by_coverage(target, false, shared)), shared, 7, .7F, .7F);
        EXPECT_GE(m.mean, target - .01);
        EXPECT_GE(m.least, target - .1);
        EXPECT_LT(m.mean, (1 + target) / 2 + .02) << "it should not read far more than it needs";
        if (target < .99) { // pages that are alike hold more than a hundredth each
          EXPECT_GT(m.entries.not_selected, 0u) << target;
        }
      }
}

TEST(coverage_selection, certified_never_falls_below_the_target) {
  for (const std::uint32_t devices : {1U, 3U})
    for (const bool shared : {false, true})
      for (const double target : {.5, .8, .95}) {
        auto s = settings_for(devices, by_coverage(target, true, shared));
        s.cache.window = 200; // what is certain weighs as much as what the bounds overrate
        const auto m = run(s, shared, 8, .2F, .4F);
        EXPECT_GE(m.least, target - 1e-5);
        if (target < .9) {
          EXPECT_GT(m.entries.not_selected, 0u) << "the bound is good for something";
        }
      }
}

TEST(coverage_selection, does_not_depend_on_how_pages_are_spread) {
  const auto one = run(settings_for(1, by_coverage(.93, false, false)), false, 9, .7F, .7F);
  for (const std::uint32_t devices : {2U, 4U}) {
    const auto more =
        run(settings_for(devices, by_coverage(.93, false, false)), false, 9, .7F, .7F);
    EXPECT_EQ(more.read, one.read);
    EXPECT_EQ(more.entries, one.entries);
  }
}

TEST(coverage_selection, reads_everything_for_a_target_of_one) {
  const auto m = run(settings_for(2, by_coverage(1, false, false)), false, 10, 1, 1);
  EXPECT_EQ(m.entries.read, m.entries.existing);
}

TEST(adaptive_routing, reaches_its_target_with_some_shards_unread) {
  for (const std::uint32_t devices : {1U, 3U}) {
    auto s = settings_for(devices, choose("all"));
    s.routing = choose("adaptive", {{"coverage", .9}});
    const auto m = run(s, true, 11, .7F, .7F);
    EXPECT_GE(m.mean, .89);
    EXPECT_GE(m.least, .8);
    EXPECT_GT(m.entries.not_routed, 0u);
  }
}

/// Routings that know nothing of devices.
class any_routing : public ::testing::TestWithParam<const char*> {};

TEST_P(any_routing, reads_the_same_however_pages_are_spread) {
  auto s = settings_for(1, choose("all"));
  s.routing = choose(GetParam());
  const auto one = run(s, true, 12, .7F, .7F);
  EXPECT_GT(one.entries.not_routed, 0u);
  for (const std::uint32_t devices : {2U, 4U}) {
    s.devices.count = devices;
    const auto more = run(s, true, 12, .7F, .7F);
    EXPECT_EQ(more.read, one.read) << devices;
    EXPECT_EQ(more.entries, one.entries);
  }
}

INSTANTIATE_TEST_SUITE_P(every, any_routing,
                         ::testing::Values("mass", "hybrid", "balanced", "cache_aware",
                                           "hierarchical"),
                         [](const auto& x) { return std::string{x.param}; });

/// What a routing with its weight covers, on shards of which budgets have evicted pages.
double covered_under(const char* name, const char* weight, double value) {
  auto s = settings_for(1, choose("all"));
  s.cache.shards = 4;
  s.budget = choose("uniform", {{"tokens", std::int64_t{160}}});
  s.scheduling = choose("streaming"); // h2o would keep what is routed, and nothing else
  s.routing = weight == nullptr ? choose(name, {{"k", std::int64_t{1}}})
                                : choose(name, {{"k", std::int64_t{1}}, {weight, value}});
  return run(s, true, 14, .7F, .7F).mean;
}

TEST(load_aware_routing, is_fed_by_what_the_lane_has_read) {
  const auto mass = covered_under("mass", nullptr, 0);
  EXPECT_EQ(covered_under("balanced", "alpha", 0), mass);
  EXPECT_NE(covered_under("balanced", "alpha", 10), mass);
}

TEST(cache_aware_routing, is_fed_by_what_was_gone) {
  const auto mass = covered_under("mass", nullptr, 0);
  EXPECT_EQ(covered_under("cache_aware", "lambda", 0), mass);
  EXPECT_NE(covered_under("cache_aware", "lambda", 10), mass);
}

TEST(eplb_routing, reads_k_shards_on_any_number_of_devices) {
  for (const std::uint32_t devices : {1U, 3U}) {
    auto s = settings_for(devices, choose("all"));
    s.routing = choose("eplb");
    EXPECT_GT(run(s, true, 13, .7F, .7F).entries.not_routed, 0u);
  }
}

TEST(certified_selection, is_refused_with_lossy_pages) {
  auto s = settings_for(1, by_coverage(.9, true, false));
  s.compression = choose("int4");
  const auto started = runtime::start(s);
  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.code(), errc::invalid_argument);
  EXPECT_NE(started.error().what.find("certified"), std::string::npos);
}

} // namespace
} // namespace pikv::test
