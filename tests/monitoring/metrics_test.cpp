// SPDX-License-Identifier: Apache-2.0
#include <pikv/monitoring/metrics.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <optional>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <pikv/monitoring/catalog.hpp>

#include "support/exposition.hpp"

namespace pikv::monitoring {

namespace {

test::exposition scrape(const metrics& m) { return test::read_exposition(m.text()); }

/// Names one event of each kind, so that every family has a series.
struct all_probes {
  explicit all_probes(const metrics& m)
      : router(m.router({0})), owner(m.owner({0}, 2)), scheduler(m.scheduler()),
        transfer(m.transfer()), supervisor(m.supervisor()), config(m.config()),
        actor(m.actor(actor_kind::router, 0)) {
    router.request_begun(request_kind::append);
    router.audited(0, 1, 0);
    owner.encoded(form::int8, 1, 0.01, 0.02, 1e-3);
    scheduler.eviction_ordered("lru", 1);
    scheduler.ghost_reads("lru", 1, 1);
    transfer.failed(transfer_path::tcp, errc::io_failed);
    supervisor.restarted(actor_kind::router);
    config.loaded(1, 5);
    actor.mailbox_depth(1);
  }
  router_probe router;
  owner_probe owner;
  scheduler_probe scheduler;
  transfer_probe transfer;
  supervisor_probe supervisor;
  config_probe config;
  actor_probe actor;
};

} // namespace

TEST(metrics, text_is_well_formed) {
  metrics m;
  all_probes probes{m};
  EXPECT_TRUE(scrape(m).malformed.empty()) << *scrape(m).malformed.begin();
}

TEST(metrics, every_metric_of_the_catalog_is_exported_with_its_type_and_help) {
  metrics m;
  all_probes probes{m};
  const auto x = scrape(m);
  EXPECT_EQ(x.types.size(), catalog().size());
  for (const auto& info : catalog()) {
    const std::string name{info.name};
    ASSERT_TRUE(x.types.contains(name)) << name;
    EXPECT_EQ(x.types.at(name), to_string(info.type)) << name;
    EXPECT_EQ(x.helps.at(name).substr(0, 8), info.help.substr(0, 8)) << name;
  }
}

TEST(metrics, every_series_has_exactly_the_labels_of_the_catalog) {
  metrics m;
  all_probes probes{m};
  for (const auto& [series, value] : scrape(m).series) {
    const auto* info = find_metric(series.substr(0, series.find('{')));
    ASSERT_NE(info, nullptr) << series;
    const bool bucket = series.find("_bucket{") != std::string::npos;
    const auto labels = std::count(series.begin(), series.end(), '=');
    EXPECT_EQ(std::size_t(labels), info->labels.size() + (bucket ? 1 : 0)) << series;
    for (const auto& label : info->labels)
      EXPECT_NE(series.find(std::string{label} + "=\""), std::string::npos) << series;
  }
}

TEST(metrics, build_info_names_version_and_backend) {
  metrics m{"cuda"};
  const auto text = m.text();
  EXPECT_NE(text.find("backend=\"cuda\""), std::string::npos);
  EXPECT_NE(text.find("version=\"0."), std::string::npos);
}

TEST(metrics, a_probe_may_outlive_its_metrics) {
  std::optional<metrics> m{std::in_place};
  auto probe = m->router({0});
  m.reset();
  probe.request_ended(request_kind::attend, errc::ok, 0.1);
  probe.flush();
}

TEST(router_probe, accounts_sum_up_over_attends_and_lanes) {
  metrics m;
  auto a = m.router({0});
  auto b = m.router({1});
  a.accounts({100, 40, 30, 20, 7, 3});
  b.accounts({50, 50, 0, 0, 0, 0});
  const auto x = scrape(m);
  EXPECT_EQ(x["pikv_entries_total{outcome=\"existing\"}"], 150);
  EXPECT_EQ(x["pikv_entries_total{outcome=\"read\"}"], 90);
  EXPECT_EQ(x["pikv_entries_total{outcome=\"not_routed\"}"], 30);
  EXPECT_EQ(x["pikv_entries_total{outcome=\"not_selected\"}"], 20);
  EXPECT_EQ(x["pikv_entries_total{outcome=\"evicted\"}"], 7);
  EXPECT_EQ(x["pikv_entries_total{outcome=\"lost\"}"], 3);
}

TEST(router_probe, accounts_add_up_in_every_scrape_while_lanes_run) {
  metrics m;
  std::atomic<bool> stop{false};
  std::vector<std::jthread> lanes;
  for (std::uint32_t i = 0; i < 3; ++i)
    lanes.emplace_back([&, probe = m.router({i})]() mutable {
      while (!stop)
        probe.accounts({15, 1, 2, 3, 4, 5});
    });
  for (int i = 0; i < 200; ++i) {
    const auto x = scrape(m);
    double parts = 0;
    for (const auto* outcome : {"read", "not_routed", "not_selected", "evicted", "lost"})
      parts += x["pikv_entries_total{outcome=\"" + std::string{outcome} + "\"}"];
    ASSERT_EQ(x["pikv_entries_total{outcome=\"existing\"}"], parts);
  }
  stop = true;
}

TEST(router_probe, requests_show_at_once) {
  metrics m;
  auto probe = m.router({0});
  probe.request_begun(request_kind::attend);
  probe.request_begun(request_kind::attend);
  probe.request_ended(request_kind::attend, errc::overloaded, 0.5);
  probe.refused_overloaded();
  probe.in_flight(1);
  const auto x = scrape(m);
  EXPECT_EQ(x["pikv_router_requests_total{kind=\"attend\"}"], 2);
  EXPECT_EQ(x["pikv_router_requests_ended_total{code=\"overloaded\",kind=\"attend\"}"], 1);
  EXPECT_EQ(x["pikv_router_requests_ended_total{code=\"ok\",kind=\"attend\"}"], 0);
  EXPECT_EQ(x["pikv_router_requests_in_flight{lane=\"0\"}"], 1);
  EXPECT_EQ(x["pikv_router_overloaded_total{lane=\"0\"}"], 1);
  EXPECT_EQ(x["pikv_router_deadline_missed_total{lane=\"0\"}"], 0);
}

TEST(router_probe, histograms_show_after_flush_and_count_each_observation_once) {
  metrics m;
  auto probe = m.router({0});
  const std::string name = "pikv_router_request_seconds_count{kind=\"append\"}";
  probe.request_ended(request_kind::append, errc::ok, 0.001);
  EXPECT_EQ(scrape(m)[name], 0);
  probe.flush();
  probe.flush();
  EXPECT_EQ(scrape(m)[name], 1);
}

TEST(router_probe, an_observation_on_a_bound_falls_into_that_bucket) {
  metrics m;
  auto probe = m.router({0});
  probe.request_ended(request_kind::append, errc::ok, 0.5);
  probe.flush();
  const auto x = scrape(m);
  EXPECT_EQ(x["pikv_router_request_seconds_bucket{kind=\"append\",le=\"0.25\"}"], 0);
  EXPECT_EQ(x["pikv_router_request_seconds_bucket{kind=\"append\",le=\"0.5\"}"], 1);
  EXPECT_EQ(x["pikv_router_request_seconds_bucket{kind=\"append\",le=\"+Inf\"}"], 1);
  EXPECT_EQ(x["pikv_router_request_seconds_sum{kind=\"append\"}"], 0.5);
}

TEST(router_probe, an_observation_above_all_bounds_is_counted) {
  metrics m;
  auto probe = m.router({0});
  probe.request_ended(request_kind::append, errc::ok, 1e6);
  probe.flush();
  const auto x = scrape(m);
  EXPECT_EQ(x["pikv_router_request_seconds_bucket{kind=\"append\",le=\"30\"}"], 0);
  EXPECT_EQ(x["pikv_router_request_seconds_bucket{kind=\"append\",le=\"+Inf\"}"], 1);
}

TEST(router_probe, route_width_weighs_by_rows) {
  metrics m;
  auto probe = m.router({0});
  probe.route_width(4, 10);
  probe.route_width(8, 2);
  probe.flush();
  const auto x = scrape(m);
  EXPECT_EQ(x["pikv_router_route_shards_count"], 12);
  EXPECT_EQ(x["pikv_router_route_shards_sum"], 56);
}

TEST(router_probe, rounding_above_full_coverage_is_full_coverage) {
  metrics m;
  auto probe = m.router({0});
  probe.audited(0, 1.0000001, 0);
  probe.audited(0, 1.5, 0);
  probe.flush();
  const auto x = scrape(m);
  EXPECT_EQ(x["pikv_router_coverage_ratio_bucket{le=\"1\"}"], 1);
  EXPECT_EQ(x["pikv_router_coverage_ratio_count"], 2);
}

TEST(router_probe, a_measurement_that_is_not_finite_is_counted_apart) {
  metrics m;
  auto probe = m.router({0});
  probe.audited(2, 1, std::numeric_limits<double>::quiet_NaN());
  probe.audited(2, 1, std::numeric_limits<double>::infinity());
  probe.audited(2, 1, 0.01);
  probe.flush();
  const auto x = scrape(m);
  EXPECT_EQ(x["pikv_router_output_error_ratio_count{layer=\"2\"}"], 1);
  EXPECT_EQ(x["pikv_router_output_error_ratio_sum{layer=\"2\"}"], 0.01);
  EXPECT_EQ(x["pikv_metrics_rejected_samples_total"], 2);
}

TEST(router_probe, audits_are_told_apart_by_layer_and_far_layers_share_a_label) {
  metrics m;
  auto probe = m.router({0});
  probe.audited(1, .75, .5);
  for (const std::uint32_t layer : {127U, 128U, 4000000000U})
    probe.audited(layer, .5, .25);
  probe.flush();
  const auto x = scrape(m);
  EXPECT_EQ(x["pikv_router_missed_mass_ratio_sum{layer=\"1\"}"], .25);
  EXPECT_EQ(x["pikv_router_missed_mass_ratio_count{layer=\"127+\"}"], 3);
  EXPECT_EQ(x["pikv_router_output_error_ratio_sum{layer=\"127+\"}"], .75);
}

TEST(router_probe, says_what_rows_are_told_and_whether_the_target_is_held) {
  metrics m;
  auto probe = m.router({1});
  EXPECT_EQ(scrape(m)["pikv_router_fidelity_held{lane=\"1\"}"], 1);
  probe.fidelity(.99, false);
  const auto x = scrape(m);
  EXPECT_EQ(x["pikv_router_fidelity_held{lane=\"1\"}"], 0);
  EXPECT_EQ(x["pikv_router_fidelity_coverage_ratio{lane=\"1\"}"], .99);
}

TEST(router_probe, the_end_of_a_probe_loses_nothing_and_zeroes_its_gauges) {
  metrics m;
  {
    auto probe = m.router({3});
    probe.in_flight(7);
    probe.request_ended(request_kind::fork, errc::ok, 0.1);
  }
  const auto x = scrape(m);
  EXPECT_EQ(x["pikv_router_request_seconds_count{kind=\"fork\"}"], 1);
  EXPECT_EQ(x["pikv_router_requests_in_flight{lane=\"3\"}"], 0);
}

TEST(router_probe, a_second_probe_of_a_lane_continues_its_series) {
  metrics m;
  m.router({0}).deadline_missed();
  m.router({0}).deadline_missed();
  EXPECT_EQ(scrape(m)["pikv_router_deadline_missed_total{lane=\"0\"}"], 2);
}

TEST(owner_probe, appended_pages_are_settled_evicted_or_freed) {
  metrics m;
  auto probe = m.owner({1}, 1);
  probe.appended(160);
  probe.settled(9, form::f16);
  probe.evicted(2, 32, evict_reason::pressure);
  probe.freed(7);
  const auto x = scrape(m);
  EXPECT_EQ(x["pikv_owner_entries_appended_total{device=\"1\"}"], 160);
  EXPECT_EQ(x["pikv_owner_pages_settled_total{device=\"1\",form=\"f16\"}"], 9);
  EXPECT_EQ(x["pikv_owner_pages_evicted_total{device=\"1\",reason=\"pressure\"}"], 2);
  EXPECT_EQ(x["pikv_owner_entries_evicted_total{device=\"1\",reason=\"pressure\"}"], 32);
  EXPECT_EQ(x["pikv_owner_pages_evicted_total{device=\"1\",reason=\"budget\"}"], 0);
  EXPECT_EQ(x["pikv_owner_pages_freed_total{device=\"1\"}"], 7);
}

TEST(owner_probe, encode_errors_weigh_by_pages) {
  metrics m;
  auto probe = m.owner({0}, 1);
  probe.encoded(form::int4, 3, 0.1, 0.2, 0.004);
  probe.encoded(form::int4, 1, 0.5, 0.6, 0.004);
  probe.flush();
  const auto x = scrape(m);
  EXPECT_EQ(x["pikv_owner_pages_encoded_total{device=\"0\",form=\"int4\"}"], 4);
  EXPECT_EQ(x["pikv_owner_encode_error_ratio_count{form=\"int4\",tensor=\"k\"}"], 4);
  EXPECT_NEAR(x["pikv_owner_encode_error_ratio_sum{form=\"int4\",tensor=\"k\"}"], 0.8, 1e-12);
  EXPECT_NEAR(x["pikv_owner_encode_error_ratio_sum{form=\"int4\",tensor=\"v\"}"], 1.2, 1e-12);
  EXPECT_EQ(x["pikv_owner_encode_seconds_count{form=\"int4\"}"], 2);
}

TEST(owner_probe, imbalance_is_the_fullest_shard_over_the_mean) {
  metrics m;
  auto probe = m.owner({0}, 4);
  probe.shard_pages(std::vector<std::uint64_t>{6, 2, 0, 0});
  auto x = scrape(m);
  EXPECT_EQ(x["pikv_owner_shard_imbalance_ratio{device=\"0\"}"], 3);
  EXPECT_EQ(x["pikv_shard_pages{device=\"0\",shard=\"0\"}"], 6);
  probe.shard_pages(std::vector<std::uint64_t>{0, 0, 0, 0});
  x = scrape(m);
  EXPECT_EQ(x["pikv_owner_shard_imbalance_ratio{device=\"0\"}"], 0);
}

TEST(owner_probe, shards_beyond_the_bound_make_no_series) {
  metrics m;
  auto probe = m.owner({0}, 1);
  probe.shard_pages(std::vector<std::uint64_t>{1, 3});
  const auto x = scrape(m);
  EXPECT_TRUE(std::isnan(x["pikv_shard_pages{device=\"0\",shard=\"1\"}"]));
  EXPECT_EQ(x["pikv_owner_shard_imbalance_ratio{device=\"0\"}"], 1.5);
}

TEST(owner_probe, bytes_and_pages_fall_to_zero_with_the_owner) {
  metrics m;
  {
    auto probe = m.owner({2}, 1);
    probe.pages(3, 5);
    probe.bytes({.pages = 10, .summaries = 20, .reserved = 40, .capacity = 80});
    const auto x = scrape(m);
    EXPECT_EQ(x["pikv_owner_pages{device=\"2\",state=\"settled\"}"], 5);
    EXPECT_EQ(x["pikv_owner_capacity_bytes{device=\"2\"}"], 80);
    EXPECT_EQ(x["pikv_owner_summary_bytes{device=\"2\"}"], 20);
  }
  const auto x = scrape(m);
  EXPECT_EQ(x["pikv_owner_pages{device=\"2\",state=\"settled\"}"], 0);
  EXPECT_EQ(x["pikv_owner_reserved_bytes{device=\"2\"}"], 0);
}

TEST(owner_probe, stream_time_adds_up) {
  metrics m;
  auto probe = m.owner({0}, 1);
  probe.stream_busy(stream_role::attend, 0.25);
  probe.stream_busy(stream_role::attend, 0.5);
  EXPECT_EQ(scrape(m)["pikv_owner_stream_busy_seconds_total{device=\"0\",role=\"attend\"}"], 0.75);
}

TEST(scheduler_probe, evictions_are_told_apart_by_policy) {
  metrics m;
  auto probe = m.scheduler();
  probe.eviction_ordered("lru", 2);
  probe.eviction_ordered("h2o", 3);
  probe.eviction_ordered("lru", 1);
  probe.evicted_then_wanted(4);
  const auto x = scrape(m);
  EXPECT_EQ(x["pikv_scheduler_pages_evicted_total{policy=\"lru\"}"], 3);
  EXPECT_EQ(x["pikv_scheduler_pages_evicted_total{policy=\"h2o\"}"], 3);
  EXPECT_EQ(x["pikv_scheduler_pages_evicted_then_wanted_total"], 4);
}

TEST(transfer_probe, bytes_and_failures_are_told_apart_by_path) {
  metrics m;
  auto probe = m.transfer();
  probe.transferred(transfer_path::nccl, 4096, 0.002);
  probe.failed(transfer_path::tcp, errc::io_failed);
  probe.flush();
  const auto x = scrape(m);
  EXPECT_EQ(x["pikv_transfer_bytes_total{path=\"nccl\"}"], 4096);
  EXPECT_EQ(x["pikv_transfer_bytes_total{path=\"tcp\"}"], 0);
  EXPECT_EQ(x["pikv_transfer_seconds_count{path=\"nccl\"}"], 1);
  EXPECT_EQ(x["pikv_transfer_failures_total{code=\"io_failed\",path=\"tcp\"}"], 1);
}

TEST(config_probe, a_refused_reload_keeps_the_time_of_the_last_success) {
  metrics m;
  auto probe = m.config();
  probe.loaded(1, 100);
  probe.reload(reload_result::success, 2, 200);
  probe.reload(reload_result::refused, 2, 300);
  const auto x = scrape(m);
  EXPECT_EQ(x["pikv_config_reload_total{result=\"success\"}"], 1);
  EXPECT_EQ(x["pikv_config_reload_total{result=\"refused\"}"], 1);
  EXPECT_EQ(x["pikv_config_last_reload_successful"], 0);
  EXPECT_EQ(x["pikv_config_last_reload_success_timestamp_seconds"], 200);
  EXPECT_EQ(x["pikv_config_version"], 2);
}

TEST(supervisor_probe, restarts_and_degradations_are_told_apart_by_actor) {
  metrics m;
  auto probe = m.supervisor();
  probe.restarted(actor_kind::shard_owner);
  probe.degraded(actor_kind::compressor);
  const auto x = scrape(m);
  EXPECT_EQ(x["pikv_supervisor_restarts_total{actor=\"shard_owner\"}"], 1);
  EXPECT_EQ(x["pikv_supervisor_restarts_total{actor=\"router\"}"], 0);
  EXPECT_EQ(x["pikv_supervisor_degraded_total{actor=\"compressor\"}"], 1);
}

TEST(actor_probe, mailbox_depth_is_a_gauge_per_actor) {
  metrics m;
  auto probe = m.actor(actor_kind::router, 1);
  probe.mailbox_depth(9);
  probe.mailbox_depth(4);
  EXPECT_EQ(scrape(m)["pikv_actor_mailbox_messages{actor=\"router\",index=\"1\"}"], 4);
}

} // namespace pikv::monitoring
