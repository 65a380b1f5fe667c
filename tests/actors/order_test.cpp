// SPDX-License-Identifier: Apache-2.0
// Calls take effect in the order in which a thread makes them, without any waiting in between, and
// the same calls give the same bits.
#include <deque>
#include <thread>

#include <gtest/gtest.h>

#include "support/cache_harness.hpp"

namespace pikv::test {
namespace {

struct in_flight {
  std::deque<pending_append> appends;
  std::deque<pending_attend> attends;

  bool appended() const {
    return std::ranges::all_of(appends, [](const auto& x) { return x.done.wait().ok(); });
  }
};

/// Appends and attends of random layers, all fired before anything is waited for.
in_flight fire(cache_harness& h, std::size_t sequence, int calls) {
  in_flight x;
  for (int i = 0; i < calls; ++i) {
    const auto layer = h.pick(h.shape().layers);
    std::vector<step> steps{{sequence, 0, 1 + h.pick(h.pick(4) == 0 ? 30 : 3)}};
    x.appends.push_back(h.append(layer, steps));
    x.attends.push_back(h.attend(layer, steps));
  }
  return x;
}

TEST(order, every_attend_sees_the_appends_before_it_and_no_others) {
  std::mt19937_64 rng(1);
  int cases = 0;
  for (int i = 0; i < 40 && !HasFailure(); ++i) {
    cache_harness h{random_settings(rng, dtype::f32), random_shape(rng), rng()};
    auto x = fire(h, h.open(), 30);
    EXPECT_TRUE(x.appended());
    for (const auto& a : x.attends) {
      EXPECT_TRUE(is_dense(h, a));
      ++cases;
    }
  }
  EXPECT_GE(cases, 1000);
}

/// Pages that settle while an attend chooses were still in its window: it must read them there.
TEST(order, a_choice_over_several_devices_keeps_its_window_while_later_appends_settle) {
  std::mt19937_64 rng(3);
  for (int i = 0; i < 5 && !HasFailure(); ++i) {
    auto s = random_settings(rng, dtype::f32);
    s.devices.count = 3;
    s.cache.window = s.cache.page_tokens;
    s.selection = choose("mass", {{"share", 1.0}}); // scored, and everything is chosen
    cache_harness h{s, random_shape(rng), rng()};
    auto x = fire(h, h.open(), 40);
    EXPECT_TRUE(x.appended());
    for (const auto& a : x.attends)
      EXPECT_TRUE(is_dense(h, a));
  }
}

TEST(order, an_attend_does_not_see_the_append_that_follows_it) {
  std::mt19937_64 rng(2);
  for (int i = 0; i < 20 && !HasFailure(); ++i) {
    cache_harness h{random_settings(rng, dtype::f32), random_shape(rng), rng()};
    const auto x = h.open();
    for (int k = 0; k < 50; ++k) {
      const auto n = 1 + h.pick(20);
      const auto end = h.sequences[x].layers[0].tokens;
      auto early = h.attend(0, {{x, end, n}});
      std::vector<step> steps{{x, 0, n}};
      auto append = h.append(0, steps);
      auto late = h.attend(0, {{x, end, n}});
      EXPECT_EQ(early.done.wait().code(), errc::position_gap);
      EXPECT_TRUE(append.done.wait().ok());
      EXPECT_TRUE(late.done.wait().ok());
    }
  }
}

TEST(order, threads_with_their_own_sequences_do_not_disturb_each_other) {
  std::mt19937_64 rng(3);
  std::atomic<int> cases = 0;
  for (int i = 0; i < 12 && !HasFailure(); ++i) {
    const auto settings = random_settings(rng, dtype::f32);
    cache_harness h{settings, random_shape(rng), rng()};
    std::vector<std::jthread> threads;
    for (std::uint64_t t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        cache_harness own{h.kv(), settings.cache.stored, 100 * t + static_cast<std::uint64_t>(i)};
        auto x = fire(own, own.open(), 25);
        EXPECT_TRUE(x.appended());
        for (const auto& a : x.attends)
          EXPECT_TRUE(is_dense(own, a));
        cases += static_cast<int>(x.attends.size());
      });
  }
  EXPECT_GE(cases.load(), 1000);
}

config::settings random_policies(std::mt19937_64& rng) {
  auto s = random_settings(rng, one_of(rng, {dtype::f32, dtype::f16, dtype::bf16}));
  s.cache.window = s.cache.page_tokens;
  s.placement = choose(one_of(rng, {"stripe", "hash", "gate"}));
  s.routing = choose(one_of(rng, {"all", "mass"}));
  s.selection = choose(one_of(rng, {"all", "mass", "quest"}));
  s.compression = choose(one_of(rng, {"identity", "int8", "int4", "fp8"}));
  s.scheduling = choose(one_of(rng, {"lru", "h2o", "streaming"}));
  if (rng() % 2 == 0)
    s.budget = choose("uniform", {{"tokens", std::int64_t{64}}});
  return s;
}

/// All outputs of the same calls in a runtime of its own; `wait` after each append.
std::vector<pending_attend> outputs(const config::settings& s, const model_shape& shape,
                                    std::uint64_t seed) {
  cache_harness h{s, shape, seed};
  h.open();
  h.open();
  std::vector<pending_attend> out;
  for (int i = 0; i < 25; ++i) {
    const auto layer = h.pick(shape.layers);
    std::vector<step> steps{{0, 0, 1 + h.pick(20)}, {1, 0, 1 + h.pick(20)}};
    auto append = h.append(layer, steps);
    out.push_back(h.attend(layer, steps));
    EXPECT_TRUE(append.done.wait().ok()) << to_string(append.done.wait().code());
    EXPECT_TRUE(out.back().done.wait().ok()) << to_string(out.back().done.wait().code());
  }
  return out;
}

TEST(determinism, the_same_calls_give_the_same_bits_under_every_policy) {
  std::mt19937_64 rng(4);
  int cases = 0;
  for (int i = 0; i < 45 && !HasFailure(); ++i) {
    const auto s = random_policies(rng);
    const auto shape = random_shape(rng, 8);
    SCOPED_TRACE(s.placement.name + " " + s.routing.name + " " + s.selection.name + " "
                 + s.compression.name + " " + s.scheduling.name + " budget "
                 + std::to_string(s.budget.options.values().size()) + " devices "
                 + std::to_string(s.devices.count) + " lanes " + std::to_string(s.runtime.lanes));
    const auto seed = rng();
    const auto a = outputs(s, shape, seed), b = outputs(s, shape, seed);
    for (std::size_t k = 0; k < a.size(); ++k, ++cases) {
      EXPECT_EQ(a[k].out.bytes(), b[k].out.bytes()) << "attend " << k;
      EXPECT_EQ(a[k].lse, b[k].lse);
      EXPECT_EQ(a[k].done.wait()->entries, b[k].done.wait()->entries);
    }
  }
  EXPECT_GE(cases, 1000);
}

TEST(determinism, raw_results_do_not_depend_on_shards_devices_or_lanes) {
  std::mt19937_64 rng(5);
  int cases = 0;
  for (int i = 0; i < 45 && !HasFailure(); ++i) {
    auto s = random_settings(rng, dtype::f32);
    s.cache.window = s.cache.page_tokens;
    s.selection = choose(one_of(rng, {"all", "mass", "quest"}));
    auto other = s;
    other.devices.count = one_of(rng, {1U, 3U});
    other.runtime.lanes = 1 + s.runtime.lanes % 3;
    other.cache.shards = s.cache.shards + 4;
    const auto shape = random_shape(rng);
    const auto seed = rng();
    const auto a = outputs(s, shape, seed), b = outputs(other, shape, seed);
    for (std::size_t k = 0; k < a.size(); ++k, ++cases) {
      EXPECT_EQ(a[k].done.wait()->entries.read, b[k].done.wait()->entries.read);
      for (std::size_t j = 0; j < a[k].lse.size(); ++j)
        EXPECT_NEAR(a[k].lse[j], b[k].lse[j], 1e-5 * std::max(1.0F, std::abs(a[k].lse[j])));
      if (a[k].out.type() != dtype::f32)
        continue;
      for (std::uint32_t row = 0; row < a[k].q.rows(); ++row)
        for (std::uint32_t head = 0; head < shape.query_heads; ++head)
          for (std::uint32_t c = 0; c < shape.head_dim; ++c)
            EXPECT_NEAR(a[k].out.get(row, head, c), b[k].out.get(row, head, c), 1e-5);
    }
  }
  EXPECT_GE(cases, 1000);
}

} // namespace
} // namespace pikv::test
