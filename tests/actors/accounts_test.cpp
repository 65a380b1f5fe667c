// SPDX-License-Identifier: Apache-2.0
// Where entries went, under every combination of policies, in results and in metrics.
#include <thread>

#include <gtest/gtest.h>

#include "support/cache_harness.hpp"
#include "support/exposition.hpp"
#include "support/http_client.hpp"

namespace pikv::test {
namespace {

constexpr std::uint32_t experts = 8;

/// Every policy of every kind, both scopes of heads, with and without a budget.
std::vector<config::settings> combinations(const config::settings& base) {
  const auto k2 = std::pair<const char*, option_value>{"k", std::int64_t{2}};
  std::vector<config::settings> out;
  for (const auto* placement : {"stripe", "hash", "gate"})
    for (const auto& routing : {choose("all"), choose("mass", {k2}), choose("gate_top_k", {k2})})
      for (const auto* selection : {"all", "mass", "quest"})
        for (const auto* heads : {"shared", "per_kv_head"})
          for (const auto* compression : {"identity", "int8", "int4", "fp8"})
            for (const std::int64_t tokens : {0, 48})
              for (const auto* scheduling : {"lru", "h2o", "streaming"}) {
                auto s = base;
                s.placement = choose(placement);
                s.routing = routing;
                s.selection =
                    std::string_view{selection} == "all"
                        ? choose("all")
                        : choose(selection, {{"heads", std::string{heads}}, {"share", 0.25}});
                s.compression = choose(compression);
                s.budget = choose("uniform", {{"tokens", tokens}});
                s.scheduling = choose(scheduling);
                out.push_back(std::move(s));
              }
  return out;
}

/// A harness whose values are constant, so that outputs show the sum of the weights.
class accounting {
public:
  accounting(const config::settings& s, std::uint64_t seed)
      : h{s, {2, 4, 2, 32, experts}, seed}, geometry_(s.cache) {
    h.plain_buffers = true;
  }

  /// Layer 0 with its gate, then layer 1, whose route may use it; then attends of both.
  void one_case(const config::settings& s) {
    const auto x = h.open();
    for (std::uint32_t end = 0; end < 100;) {
      const auto n = 1 + h.pick(50);
      std::vector<float> gate(std::size_t{n} * experts);
      std::normal_distribution<float> normal;
      for (auto& g : gate)
        g = normal(h.rng);
      auto first = grow(x, 0, n);
      const batch_part part{h.sequences[x].id, end, n};
      auto annotated = h.kv().annotate(0, std::span{&part, 1}, gate);
      auto second = grow(x, 1, n);
      end += n;
      for (std::uint32_t layer : {0U, 1U})
        check(h.attend(layer, {{x, end - std::min(n, 3U), std::min(n, 3U)}}), s);
      EXPECT_TRUE(first.done.wait().ok() && annotated.wait().ok() && second.done.wait().ok());
    }
    EXPECT_TRUE(h.kv().close(h.sequences[x].id).wait().ok());
    h.sequences.clear();
  }

  cache_harness h;
  entry_account total;
  int attends = 0;

private:
  pending_append grow(std::size_t x, std::uint32_t layer, std::uint32_t n) {
    std::vector<step> steps{{x, 0, n}};
    auto [k, v] = h.random_kv(steps);
    for (std::uint32_t t = 0; t < n; ++t)
      for (std::uint32_t head = 0; head < 2; ++head)
        for (std::uint32_t c = 0; c < 32; ++c)
          v.set(t, head, c, 1);
    return h.append(layer, steps, std::move(k), std::move(v));
  }

  void check(const pending_attend& a, const config::settings& s) {
    const auto& r = a.done.wait();
    ASSERT_TRUE(r.ok()) << to_string(r.error());
    const auto& e = r->entries;
    ++attends;
    total += e;
    EXPECT_TRUE(e.adds_up());
    std::uint64_t existing = 0, most = 0;
    for (std::uint32_t row = 0; row < a.q.rows(); ++row) {
      const auto t = a.where(row).first;
      existing += 2 * (t + 1);
      most += 2 * most_read(t, s);
    }
    EXPECT_EQ(e.existing, existing);
    EXPECT_EQ(e.lost, 0U);
    EXPECT_LE(e.read, most);
    EXPECT_TRUE(s.routing.name != "all" || e.not_routed == 0);
    EXPECT_TRUE(s.selection.name != "all" || e.not_selected == 0);
    EXPECT_TRUE(s.budget.options.integer("tokens") > 0 || e.evicted == 0);
    for (std::uint32_t row = 0; row < a.q.rows(); ++row)
      for (std::uint32_t head = 0; head < 4; ++head)
        for (std::uint32_t c = 0; c < 32; ++c)
          ASSERT_NEAR(a.out.get(row, head, c), 1, 1e-5);
  }

  /// Entries that one row and KV head may read: the window, the sinks and the budget of pages.
  std::uint64_t most_read(std::uint32_t t, const config::settings& s) const {
    const std::uint64_t page = geometry_.page_tokens, all = t + 1;
    const std::uint64_t young = geometry_.window + geometry_.sinks;
    const auto old = all > young ? (all - young) / page : 0;
    return s.selection.name == "all" ? all : all - old * page + (old + 3) / 4 * page;
  }

  config::cache_settings geometry_;
};

config::settings accounting_settings(std::uint32_t devices) {
  auto s = small_settings();
  s.cache = {8, dtype::f32, 3, 12, 5, 0};
  s.devices.count = devices;
  s.runtime.lanes = devices;
  return s;
}

void every_combination(std::uint32_t devices) {
  const auto base = accounting_settings(devices);
  accounting a{base, devices};
  int cases = 0;
  for (const auto& s : combinations(base)) {
    SCOPED_TRACE(s.placement.name + " " + s.routing.name + " " + s.selection.name + " "
                 + s.compression.name + " " + s.scheduling.name);
    const auto reloaded = a.h.run().reload(s).wait();
    ASSERT_TRUE(reloaded.ok()) << to_string(reloaded.error());
    a.one_case(s);
    ++cases;
    if (::testing::Test::HasFailure())
      return;
  }
  EXPECT_GE(cases, 900);
  EXPECT_GE(a.attends, 4000);
}

TEST(accounts, add_up_and_weights_sum_to_one_for_every_combination_on_one_device) {
  every_combination(1);
}

TEST(accounts, add_up_and_weights_sum_to_one_for_every_combination_on_three_devices) {
  every_combination(3);
}

TEST(accounts, metrics_report_the_same_sums) {
  auto s = accounting_settings(2);
  s.metrics.enabled = true;
  s.metrics.port = 0;
  const auto all = combinations(s);
  accounting a{s, 9};
  for (std::size_t i = 0; i < all.size(); i += 97) {
    ASSERT_TRUE(a.h.run().reload(all[i]).wait().ok());
    a.one_case(all[i]);
  }
  const auto port = a.h.run().status().metrics_port;
  ASSERT_NE(port, 0);
  exposition x;
  for (int i = 0; i < 50; ++i) { // counters may be a tick behind
    x = read_exposition(http_get(port, "/metrics").body);
    if (x["pikv_entries_total{outcome=\"existing\"}"] >= static_cast<double>(a.total.existing))
      break;
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
  }
  const auto value = [&x](const char* outcome) {
    return x["pikv_entries_total{outcome=\"" + std::string{outcome} + "\"}"];
  };
  EXPECT_EQ(value("existing"), static_cast<double>(a.total.existing));
  EXPECT_EQ(value("read"), static_cast<double>(a.total.read));
  EXPECT_EQ(value("not_routed"), static_cast<double>(a.total.not_routed));
  EXPECT_EQ(value("not_selected"), static_cast<double>(a.total.not_selected));
  EXPECT_EQ(value("evicted"), static_cast<double>(a.total.evicted));
  EXPECT_EQ(value("lost"), 0);
  EXPECT_GT(a.total.not_routed, 0U);
  EXPECT_GT(a.total.not_selected, 0U);
  EXPECT_GT(a.total.evicted, 0U);
}

} // namespace
} // namespace pikv::test
