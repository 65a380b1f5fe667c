// SPDX-License-Identifier: Apache-2.0
// Entries that are placed one by one: what is read stays exact, and sealed pages are of one shard.
#include <gtest/gtest.h>

#include "support/labelled_sequence.hpp"

namespace pikv::test {
namespace {

const auto k1 = std::pair<const char*, option_value>{"k", std::int64_t{1}};

TEST(entry_granularity, gives_dense_attention_whatever_the_placement_and_chunks) {
  std::mt19937_64 rng(11);
  int cases = 0;
  for (int i = 0; i < 30 && !HasFailure(); ++i) {
    auto settings = random_settings(rng, one_of(rng, {dtype::f32, dtype::f16, dtype::bf16}));
    settings.cache.granularity = config::settle_granularity::entry;
    settings.placement = choose(one_of(rng, {"stripe", "hash", "gate", "cluster", "eplb"}));
    auto shape = random_shape(rng, experts);
    shape.layers = 2;
    cache_harness h{settings, shape, rng()};
    SCOPED_TRACE(::testing::Message()
                 << settings.placement.name << " page " << settings.cache.page_tokens << " shards "
                 << settings.cache.shards << " devices " << settings.devices.count);
    labelled x{h, h.open()};
    while (x.labels.size() < 400 && !HasFailure()) {
      const auto n = 1 + h.pick(h.pick(3) == 0 ? 60 : 6);
      const auto end = static_cast<std::uint32_t>(x.labels.size()) + n;
      auto appends = x.grow(n);
      for (const std::uint32_t layer : {0U, 1U}) {
        auto a = h.attend(layer, {{x.sequence, end - n, n}});
        EXPECT_TRUE(is_dense(h, a));
        EXPECT_TRUE(a.done.wait().ok() && a.done.wait()->entries.adds_up());
        ++cases;
      }
      expect_ok(appends);
    }
  }
  EXPECT_GE(cases, 1000);
}

/// Entries of a layer that are read when only `shard` is routed, by a plain model of the pages.
std::vector<bool> readable(const config::cache_settings& c, const std::vector<std::uint32_t>& shard_of,
                           std::uint32_t first_new, std::uint32_t shard) {
  const auto window_end = first_new + 1 > c.sinks + c.window
                              ? c.sinks + (first_new + 1 - c.sinks - c.window) / c.page_tokens
                                              * c.page_tokens
                              : c.sinks;
  std::vector<bool> keep(shard_of.size(), true);
  for (std::uint32_t s = 0; s < c.shards; ++s) {
    std::vector<std::uint32_t> own;
    for (auto t = c.sinks; t < window_end; ++t)
      if (shard_of[t] == s)
        own.push_back(t);
    for (std::size_t i = 0; s != shard && i < own.size() / c.page_tokens * c.page_tokens; ++i)
      keep[own[i]] = false;
  }
  return keep;
}

TEST(entry_granularity, a_sealed_page_holds_entries_of_its_shard_only) {
  for (const auto* placement : {"gate", "hash", "stripe", "eplb"})
    for (const std::uint32_t devices : {1U, 2U, 3U}) {
      auto settings = entry_settings(placement, devices);
      settings.routing = choose("mass", {k1});
      cache_harness h{settings, {2, 2, 1, 32, experts}, 5};
      h.plain_buffers = true;
      labelled x{h, h.open()};
      int narrowed = 0;
      for (int i = 0; i < 40; ++i) {
        const auto n = 1 + h.pick(24);
        const auto first = static_cast<std::uint32_t>(x.labels.size());
        expect_ok(x.grow(n));
        std::vector<std::uint32_t> shards;
        for (std::uint32_t t = 0; t < x.labels.size(); ++t) {
          const std::string_view p{placement};
          shards.push_back(p == "stripe" ? (t + 1) % 4
                           : p == "hash" ? (t ^ x.labels[t]) % 4
                                         : x.labels[t] % 4);
        }
        const auto end = static_cast<std::uint32_t>(x.labels.size());
        auto a = h.attend(1, {{0, end - 1, 1}});
        ASSERT_TRUE(a.done.wait().ok());
        EXPECT_TRUE(a.done.wait()->entries.adds_up());
        narrowed += a.done.wait()->entries.not_routed > 0;
        int fits = 0;
        for (std::uint32_t s = 0; s < 4; ++s) {
          const auto keep = readable(settings.cache, shards, first, s);
          const auto kept = static_cast<std::uint64_t>(std::ranges::count(keep, true));
          bool same = kept == a.done.wait()->entries.read;
          for (std::uint32_t head = 0; head < 2 && same; ++head)
            same = bool(near(h.dense(a, 0, head, [&](std::uint32_t t) { return keep[t]; }), a, 0,
                             head, 2));
          fits += same;
        }
        ASSERT_GE(fits, 1) << placement << " on " << devices << ", " << end << " tokens";
      }
      EXPECT_GT(narrowed, 20) << placement;
    }
}

TEST(entry_granularity, forks_fill_their_open_pages_apart) {
  for (const std::uint32_t devices : {1U, 3U}) {
    cache_harness h{entry_settings("gate", devices), {2, 2, 1, 32, experts}, 6};
    for (int k = 0; k < 60; ++k) {
      labelled parent{h, h.open()};
      for (std::uint32_t i = 0, n = 1 + h.pick(6); i < n; ++i)
        expect_ok(parent.grow(1 + h.pick(30)));
      auto forked = h.kv().fork(h.sequences[parent.sequence].id);
      ASSERT_TRUE(forked.wait().ok());
      h.sequences.push_back({*forked.wait(), h.sequences[parent.sequence].layers});
      labelled child{h, h.sequences.size() - 1, parent.labels};
      for (int i = 0; i < 6; ++i) {
        auto& x = h.pick(2) == 0 ? parent : child;
        expect_ok(x.grow(1 + h.pick(20)));
        for (auto* y : {&parent, &child}) {
          const auto end = static_cast<std::uint32_t>(y->labels.size());
          auto a = h.attend(1, {{y->sequence, end - 1, 1}});
          ASSERT_TRUE(is_dense(h, a)) << "round " << k;
        }
      }
      for (const auto& s : h.sequences)
        EXPECT_TRUE(h.kv().close(s.id).wait().ok());
      h.sequences.clear();
    }
  }
}

TEST(entry_granularity, refuses_queries_older_than_what_has_left_the_window) {
  cache_harness h{entry_settings("stripe", 1), {2, 2, 1, 32, 0}, 7};
  h.open();
  h.fill(0, 0, 20);
  h.fill(0, 0, 80);
  h.fill(0, 0, 1);
  // Rows from 100 on are new, and 85 entries behind the sinks are 12 tokens old or older: 10 pages.
  auto old = h.attend(0, {{0, 81, 1}});
  EXPECT_EQ(old.done.wait().code(), errc::position_gap);
  EXPECT_TRUE(is_dense(h, h.attend(0, {{0, 82, 19}})));
}

TEST(entry_granularity, evicts_and_encodes_sealed_pages_and_accounts_for_all) {
  for (const std::uint32_t devices : {1U, 2U})
    for (const auto* compression : {"identity", "int8", "fp8"}) {
      auto settings = entry_settings("gate", devices);
      settings.budget = choose("uniform", {{"tokens", std::int64_t{96}}});
      settings.compression = choose(compression);
      cache_harness h{settings, {2, 4, 2, 32, experts}, 8};
      labelled x{h, h.open()};
      std::uint64_t evicted = 0;
      for (int i = 0; i < 40; ++i) {
        expect_ok(x.grow(1 + h.pick(20)));
        const auto end = static_cast<std::uint32_t>(x.labels.size());
        auto a = h.attend(1, {{0, end - 1, 1}});
        ASSERT_TRUE(a.done.wait().ok());
        const auto& entries = a.done.wait()->entries;
        EXPECT_TRUE(entries.adds_up());
        EXPECT_EQ(entries.read + entries.evicted, std::uint64_t{end} * 2);
        evicted = entries.evicted;
      }
      EXPECT_GT(evicted, 0U);
    }
}

TEST(entry_granularity, a_refused_append_leaves_open_pages_as_they_were) {
  auto settings = entry_settings("stripe", 2);
  settings.devices.memory_bytes = std::uint64_t{2} << 20;
  settings.limits.when_full = config::full_policy::refuse;
  cache_harness h{settings, {1, 4, 4, 64, 0}, 9};
  h.open();
  h.open();
  int refused = 0;
  for (int i = 0; i < 400 && refused < 5; ++i) {
    const auto before = std::pair{h.sequences[0].layers, h.sequences[1].layers};
    std::vector<step> steps{{0, 0, 1 + h.pick(20)}, {1, 0, 1 + h.pick(20)}};
    auto a = h.append(0, steps);
    if (!a.done.wait().ok()) {
      EXPECT_EQ(a.done.wait().code(), errc::over_budget);
      std::tie(h.sequences[0].layers, h.sequences[1].layers) = before;
      ++refused;
    }
    for (const std::size_t s : {0U, 1U}) {
      const auto end = h.sequences[s].layers[0].tokens;
      ASSERT_TRUE(end == 0 || is_dense(h, h.attend(0, {{s, end - 1, 1}}))) << i;
    }
  }
  EXPECT_EQ(refused, 5);
}

} // namespace
} // namespace pikv::test
