// SPDX-License-Identifier: Apache-2.0
// A fidelity target over real text: audits hold the mean coverage in a narrow band while most old
// entries stay unread.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <optional>
#include <string>
#include <thread>

#include <moe_engine/evaluate.hpp>
#include <moe_engine/pikv_store.hpp>
#include <pikv/actors/runtime.hpp>
#include <pikv/monitoring/log.hpp>

#include "support/exposition.hpp"
#include "support/http_client.hpp"

namespace pikv::moe_engine {
namespace {

const std::string folder = PIKV_TINY_MOE;

config::settings held_at(double target) {
  config::settings s;
  s.metrics.port = 0;
  s.runtime.latency = config::latency_profile::idle;
  s.devices.threads = 2;
  s.selection = {"mass", {}};
  s.fidelity.coverage_target = target;
  s.fidelity.audit_share = 1.0 / 16;
  return s;
}

/// What audits have measured up to now.
struct audited {
  double sum = 0, count = 0, told = 0, held = 0;
  double mean_since(const audited& x) const { return (sum - x.sum) / (count - x.count); }
};

class fidelity_target : public testing::Test {
protected:
  void start(const config::settings& s) {
    rt_.emplace(*runtime::start(s));
    kv_.emplace(*rt_->open(m_.config.shape()));
  }

  /// Metrics show what routers flushed on their last tick, once a second.
  audited read() {
    std::this_thread::sleep_for(std::chrono::milliseconds{2500});
    const auto x =
        test::read_exposition(test::http_get(rt_->status().metrics_port, "/metrics").body);
    return {x["pikv_router_coverage_ratio_sum"], x["pikv_router_coverage_ratio_count"],
            x["pikv_router_fidelity_coverage_ratio{lane=\"0\"}"],
            x["pikv_router_fidelity_held{lane=\"0\"}"]};
  }

  /// `steps` forward passes of 8 tokens for each of 4 sequences.
  evaluation_result pass(std::uint32_t steps) {
    evaluation_options o;
    o.windows = 4;
    o.needles = 0;
    o.sequences = 4;
    o.chunk_tokens = 8;
    o.window_bytes = 8 * steps;
    const auto r = evaluate(m_, *kv_, team_, text_, o);
    EXPECT_TRUE(r.ok()) << (r ? "" : r.error().what);
    return *r;
  }

  /// Share of the old entries, those that no row reads in any case, that stayed unread.
  double unread(const evaluation_result& r, std::uint32_t window_bytes) const {
    const auto s = rt_->settings().cache;
    std::uint64_t old = 0;
    for (std::uint32_t t = 0; t < window_bytes; ++t)
      if (t + 1 > s.window + s.sinks)
        old += (t + 1 - s.window - s.sinks) / s.page_tokens * s.page_tokens;
    const auto shape = m_.config.shape();
    old *= std::uint64_t{4} * shape.layers * shape.kv_heads;
    return static_cast<double>(r.entries.not_selected) / static_cast<double>(old);
  }

  model m_ = *load_model(folder);
  std::vector<std::uint8_t> text_ = *read_bytes(folder + "/eval_text.txt");
  thread_team team_{2};
  std::optional<runtime> rt_;
  std::optional<pikv_store> kv_;
};

TEST_F(fidelity_target, holds_the_audited_mean_in_its_band_and_follows_a_reload) {
  start(held_at(.99));
  const auto begin = read();
  const auto first = pass(512);
  const auto held = read();
  const auto mean = held.mean_since(begin);
  std::printf(
      "target 0.99: audited mean %.5f in %.0f audits (all rows sampled: %.5f), %.1f%% of old "
      "entries unread, rows are told %.5f\n",
      mean, held.count - begin.count, first.coverage, 100 * unread(first, 4096), held.told);
  EXPECT_GE(mean, .99);
  EXPECT_LE(mean, .995);
  EXPECT_GE(unread(first, 4096), .55);
  EXPECT_EQ(held.held, 1);

  auto next = rt_->settings();
  next.fidelity.coverage_target = .999;
  ASSERT_TRUE(rt_->reload(next).wait().ok());
  const auto second = pass(200);
  const auto moved = read();
  const auto after = moved.mean_since(held);
  std::printf("target 0.999, the 200 steps after the reload: audited mean %.5f in %.0f audits (all "
              "rows sampled: %.5f), %.1f%% of old entries unread, rows are told %.5f\n",
              after, moved.count - held.count, second.coverage, 100 * unread(second, 1600),
              moved.told);
  EXPECT_GE(after, .999);
  EXPECT_GT(moved.told, held.told);
  EXPECT_EQ(moved.held, 1);
}

TEST_F(fidelity_target, says_so_when_a_route_keeps_it_out_of_reach) {
  std::atomic<int> warnings{0};
  monitoring::set_log_sink([&](monitoring::severity x, std::string_view, std::string_view line) {
    warnings += x == monitoring::severity::warning && line.find("fidelity") != line.npos;
  });
  auto s = held_at(.9995);
  s.routing.name = "mass";
  s.routing.options.set("k", std::int64_t{1});
  s.fidelity.audit_share = .25;
  start(s);
  pass(128);
  const auto x = read();
  std::printf("target 0.9995 with one shard of 16 routed: audited mean %.5f, held %.0f, %d lines\n",
              x.sum / x.count, x.held, warnings.load());
  EXPECT_LT(x.sum / x.count, .9995);
  EXPECT_EQ(x.held, 0);
  EXPECT_EQ(warnings, 1);
  rt_->stop();
  monitoring::set_log_sink({});
}

} // namespace
} // namespace pikv::moe_engine
