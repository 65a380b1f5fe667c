// SPDX-License-Identifier: Apache-2.0
// Memory and entry budgets hold; a full device is an ordinary result, and memory comes back.
#include <deque>

#include <gtest/gtest.h>

#include "support/cache_harness.hpp"

namespace pikv::test {
namespace {

config::settings little_memory(std::mt19937_64& rng, config::full_policy when_full) {
  auto s = small_settings();
  s.devices.memory_bytes = std::uint64_t{1} << 20;
  s.devices.count = one_of(rng, {1U, 2U});
  s.runtime.lanes = one_of(rng, {1U, 2U});
  s.cache.stored = dtype::f32;
  s.cache.page_tokens = one_of(rng, {8U, 16U, 32U});
  s.cache.window = s.cache.page_tokens;
  s.cache.sinks = static_cast<std::uint32_t>(rng() % 5);
  s.compression = choose(one_of(rng, {"identity", "int8", "int4", "fp8"}));
  s.scheduling = choose(one_of(rng, {"lru", "h2o", "streaming"}));
  s.selection = choose(one_of(rng, {"all", "mass"}));
  s.limits.when_full = when_full;
  s.limits.deadline = std::chrono::seconds{10};
  return s;
}

bool within_capacity(const runtime& r) {
  const auto s = r.status();
  return std::ranges::all_of(s.devices, [](const device_status& d) {
    return d.memory_reserved_bytes <= d.memory_capacity_bytes;
  });
}

std::uint64_t reserved(const runtime& r) {
  std::uint64_t sum = 0;
  for (const auto& d : r.status().devices)
    sum += d.memory_reserved_bytes;
  return sum;
}

struct pressure {
  int cases = 0;
  int refused = 0;
  std::uint64_t evicted = 0;
};

/// Sequences that grow far beyond the memory, several appends in flight; a refused append leaves
/// its sequence as it was.
void press(cache_harness& h, pressure& p, int rounds) {
  for (int i = 0; i < 6; ++i)
    h.open();
  for (int i = 0; i < rounds && !::testing::Test::HasFailure(); ++i, ++p.cases) {
    const auto before = h.sequences;
    std::vector<std::pair<std::size_t, pending_append>> appends;
    for (std::size_t x = 0; x < h.sequences.size(); ++x)
      if (std::vector<step> steps{{x, 0, 1 + h.pick(120)}}; h.pick(2) == 0)
        appends.emplace_back(x, h.append(0, steps));
    for (auto& [x, a] : appends) {
      const auto code = a.done.wait().code();
      EXPECT_TRUE(code == errc::ok || code == errc::over_budget) << to_string(code);
      if (code == errc::ok)
        continue;
      ++p.refused;
      h.sequences[x] = before[x];
    }
    EXPECT_TRUE(within_capacity(h.run()));
    const auto x = h.pick(6);
    const auto end = h.sequences[x].layers[0].tokens;
    if (end == 0)
      continue;
    auto attend = h.attend(0, {{x, end - 1, 1}});
    const auto& r = attend.done.wait();
    ASSERT_TRUE(r.ok()) << to_string(r.error());
    EXPECT_EQ(r->entries.existing, std::uint64_t{end} * h.shape().kv_heads);
    p.evicted += r->entries.evicted;
  }
}

/// Closes everything; then the memory is free and a sequence as large as before fits again.
void close_all(cache_harness& h) {
  for (const auto& s : h.sequences)
    EXPECT_TRUE(h.kv().close(s.id).wait().ok());
  h.sequences.clear();
  EXPECT_EQ(reserved(h.run()), 0U);
  const auto& usage = h.kv().usage().wait();
  ASSERT_TRUE(usage.ok());
  EXPECT_EQ(usage->total_bytes(), usage->overhead_bytes + usage->table_bytes);
  EXPECT_EQ(usage->pages_window + usage->pages_settled, 0U);
  const auto x = h.open();
  h.fill(x, 0, 100);
  EXPECT_TRUE(h.attend(0, {{x, 99, 1}}).done.wait().ok());
}

TEST(budget, a_full_device_evicts_and_counts_what_it_drops) {
  std::mt19937_64 rng(1);
  pressure p;
  for (int i = 0; i < 25 && !HasFailure(); ++i) {
    const auto s = little_memory(rng, config::full_policy::evict);
    SCOPED_TRACE(s.compression.name + " " + s.scheduling.name + " " + s.selection.name);
    cache_harness h{s, {1, 4, 2, 64, 0}, rng()};
    press(h, p, 40);
    close_all(h);
  }
  EXPECT_GE(p.cases, 1000);
  EXPECT_GT(p.evicted, 10000U);
}

TEST(budget, a_full_device_that_may_not_evict_refuses_and_drops_nothing) {
  std::mt19937_64 rng(2);
  pressure p;
  for (int i = 0; i < 25 && !HasFailure(); ++i) {
    const auto s = little_memory(rng, config::full_policy::refuse);
    SCOPED_TRACE(s.compression.name + " " + s.scheduling.name + " " + s.selection.name);
    cache_harness h{s, {1, 4, 2, 64, 0}, rng()};
    press(h, p, 40);
    close_all(h);
  }
  EXPECT_GE(p.cases, 1000);
  EXPECT_EQ(p.evicted, 0U);
  EXPECT_GT(p.refused, 100);
}

TEST(budget, a_refused_batch_over_two_devices_appends_none_of_its_parts) {
  std::mt19937_64 rng(5);
  int cases = 0, refused = 0;
  for (int i = 0; i < 25 && !HasFailure(); ++i) {
    auto s = little_memory(rng, config::full_policy::refuse);
    s.devices.count = 2;
    s.runtime.lanes = 1;
    s.selection = choose("all");
    s.compression = choose("identity");
    cache_harness h{s, {1, 4, 2, 64, 0}, rng()};
    h.open();
    h.open();
    for (int k = 0; k < 45; ++k, ++cases) {
      const auto before = h.sequences;
      std::vector<step> steps{{0, 0, 1 + h.pick(20)}, {1, 0, 1 + h.pick(100)}};
      auto a = h.append(0, steps);
      const auto code = a.done.wait().code();
      EXPECT_TRUE(code == errc::ok || code == errc::over_budget) << to_string(code);
      if (code != errc::ok) {
        h.sequences = before;
        ++refused;
      }
    }
    for (std::size_t x : {0U, 1U})
      EXPECT_TRUE(is_dense(h, h.attend(0, {{x, h.sequences[x].layers[0].tokens - 1, 1}})));
  }
  EXPECT_GE(cases, 1000);
  EXPECT_GT(refused, 100);
}

TEST(budget, new_sequences_take_turns_on_lanes_and_devices) {
  for (std::uint32_t lanes : {1U, 2U, 3U})
    for (std::uint32_t devices : {1U, 2U, 3U, 4U}) {
      auto s = small_settings();
      s.runtime.lanes = lanes;
      s.devices.count = devices;
      cache_harness h{s, {1, 2, 1, 32, 0}, 1};
      for (std::uint32_t i = 0; i < 2 * lanes * devices; ++i)
        h.fill(h.open(), 0, 10); // a window only: it stays on the home device
      const auto status = h.run().status();
      for (const auto& d : status.devices)
        EXPECT_EQ(d.memory_reserved_bytes, status.devices[0].memory_reserved_bytes)
            << lanes << " lanes, " << devices << " devices";
    }
}

TEST(budget, pinned_sequences_keep_everything_while_others_give_way) {
  std::mt19937_64 rng(3);
  pressure p;
  for (int i = 0; i < 10 && !HasFailure(); ++i) {
    auto s = little_memory(rng, config::full_policy::evict);
    s.selection = choose("all");
    s.compression = choose("identity");
    cache_harness h{s, {1, 4, 2, 64, 0}, rng()};
    const auto kept = h.open();
    ASSERT_TRUE(h.kv().pin(h.sequences[kept].id).wait().ok());
    h.fill(kept, 0, 200);
    for (int k = 0; k < 5; ++k) {
      cache_harness others{h.kv(), dtype::f32, rng()};
      for (std::size_t x = 0; x < 6; ++x) {
        others.open();
        std::vector<step> steps{{x, 0, 200}};
        auto a = others.append(0, steps);
        const auto code = a.done.wait().code();
        EXPECT_TRUE(code == errc::ok || code == errc::over_budget) << to_string(code);
      }
      auto a = h.attend(0, {{kept, 199, 1}});
      EXPECT_TRUE(is_dense(h, a));
      EXPECT_EQ(a.done.wait()->entries.evicted, 0U);
    }
  }
}

TEST(budget, an_entry_budget_holds_after_every_append) {
  std::mt19937_64 rng(4);
  int cases = 0;
  for (const auto* scheduling : {"lru", "lru_plus", "lfu", "h2o", "streaming", "tova", "snap",
                                 "key_norm", "key_diff", "quest", "flexgen"})
    for (int i = 0; i < 4 && !HasFailure(); ++i) {
      auto s = random_settings(rng, dtype::f32);
      s.cache.page_tokens = one_of(rng, {8U, 16U});
      s.cache.window = s.cache.page_tokens + static_cast<std::uint32_t>(rng() % 20);
      const auto tokens = s.cache.window + s.cache.sinks + s.cache.page_tokens
                          + static_cast<std::uint32_t>(rng() % 60);
      s.budget = choose("uniform", {{"tokens", std::int64_t{tokens}}});
      s.scheduling = choose(scheduling);
      s.compression = choose(one_of(rng, {"identity", "int8"}));
      cache_harness h{s, random_shape(rng), rng()};
      h.open();
      h.open();
      for (int k = 0; k < 25; ++k, ++cases) {
        const auto layer = h.pick(h.shape().layers);
        std::vector<step> steps{{h.pick(2), 0, 1 + h.pick(40)}};
        auto append = h.append(layer, steps);
        const auto end = steps[0].position + steps[0].tokens;
        auto attend = h.attend(layer, {{steps[0].sequence, end - 1, 1}});
        const auto& r = attend.done.wait();
        ASSERT_TRUE(r.ok()) << to_string(r.error());
        const auto kept = r->entries.read / h.shape().kv_heads;
        EXPECT_LE(kept, tokens) << scheduling << " of " << end;
        const auto slack =
            2 * s.cache.page_tokens - 2; // whole pages, and room for a growing window
        EXPECT_GE(kept, std::min(end, tokens - slack)) << "gave up too much";
      }
    }
  EXPECT_GE(cases, 1000);
}

} // namespace
} // namespace pikv::test
