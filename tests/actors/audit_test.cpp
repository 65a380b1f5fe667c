// SPDX-License-Identifier: Apache-2.0
// Audits measure and change nothing.
#include <gtest/gtest.h>

#include <thread>

#include "support/cache_play.hpp"
#include "support/exposition.hpp"
#include "support/http_client.hpp"

namespace pikv::test {
namespace {

config::settings selecting(double audit_share, std::uint32_t devices) {
  auto s = small_settings();
  s.devices.count = devices;
  s.selection = choose("mass", {{"share", .25}});
  s.fidelity.audit_share = audit_share;
  return s;
}

exposition metrics_of(cache_harness& h) {
  std::this_thread::sleep_for(std::chrono::milliseconds{2500}); // a tick, then a flush
  return read_exposition(http_get(h.run().status().metrics_port, "/metrics").body);
}

TEST(audits, never_change_a_result) {
  for (const std::uint32_t devices : {1U, 3U})
    for (const std::uint64_t seed : {1U, 2U, 3U}) {
      const auto plain = play(selecting(0, devices), seed, 60, [](cache_harness&) {});
      const auto audited = play(selecting(1, devices), seed, 60, [](cache_harness&) {});
      ASSERT_EQ(plain.size(), audited.size());
      for (std::size_t i = 0; i < plain.size(); ++i) {
        EXPECT_EQ(plain[i].out, audited[i].out) << i;
        EXPECT_EQ(plain[i].entries, audited[i].entries) << i;
      }
    }
}

TEST(audits, measure_what_float64_measures) {
  auto s = selecting(1, 1);
  s.metrics.enabled = true;
  s.metrics.port = 0;
  s.cache.stored = dtype::f32;
  cache_harness h{s, {2, 4, 2, 32, 0}, 5};
  h.plain_buffers = true;
  h.open();
  double missed[2] = {};
  int attends[2] = {};
  for (int i = 0; i < 12; ++i)
    for (std::uint32_t layer = 0; layer < 2; ++layer) {
      h.fill(0, layer, 20);
      auto a = h.attend(layer, {{0, h.sequences[0].layers[layer].tokens - 1, 1}});
      ASSERT_TRUE(a.done.wait().ok());
      for (std::uint32_t head = 0; head < 4; ++head) {
        const auto full = h.dense(a, 0, head, [](std::uint32_t) { return true; });
        missed[layer] += (1 - std::exp(static_cast<double>(a.lse[head]) - full.lse)) / 4;
      }
      ++attends[layer];
      std::this_thread::sleep_for(std::chrono::milliseconds{20}); // the lane is idle
    }
  const auto x = metrics_of(h);
  for (const std::string layer : {"0", "1"}) {
    const auto l = layer == "0" ? 0 : 1;
    EXPECT_EQ(x["pikv_router_missed_mass_ratio_count{layer=\"" + layer + "\"}"], attends[l]);
    EXPECT_NEAR(x["pikv_router_missed_mass_ratio_sum{layer=\"" + layer + "\"}"], missed[l], 1e-4);
    EXPECT_EQ(x["pikv_router_output_error_ratio_count{layer=\"" + layer + "\"}"], attends[l]);
  }
  EXPECT_GT(missed[0], .01);
}

TEST(audits, are_made_for_the_share_that_was_asked_for_and_reach_every_layer) {
  auto s = selecting(.125, 1);
  s.metrics.enabled = true;
  s.metrics.port = 0;
  cache_harness h{s, {8, 2, 1, 32, 0}, 6};
  h.open();
  constexpr int rounds = 100;
  for (std::uint32_t layer = 0; layer < 8; ++layer)
    h.fill(0, layer, 60);
  for (int i = 0; i < rounds; ++i)
    for (std::uint32_t layer = 0; layer < 8; ++layer)
      ASSERT_TRUE(h.attend(layer, {{0, 59, 1}}).done.wait().ok());
  const auto x = metrics_of(h);
  EXPECT_NEAR(x["pikv_router_coverage_ratio_count"], rounds * 8 * .125, 40);
  for (int layer = 0; layer < 8; ++layer)
    EXPECT_GT(x["pikv_router_missed_mass_ratio_count{layer=\"" + std::to_string(layer) + "\"}"], 3);
}

TEST(fidelity_target, is_refused_where_nothing_can_hold_it) {
  auto s = small_settings();
  s.fidelity.coverage_target = .99;
  const auto started = runtime::start(s);
  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.code(), errc::invalid_argument);
  EXPECT_NE(started.error().what.find("selection.policy"), std::string::npos);
}

TEST(fidelity_target, needs_audits) {
  auto s = selecting(0, 1);
  s.fidelity.coverage_target = .99;
  const auto started = runtime::start(s);
  ASSERT_FALSE(started.ok());
  EXPECT_NE(started.error().what.find("audit_share"), std::string::npos);
}

} // namespace
} // namespace pikv::test
