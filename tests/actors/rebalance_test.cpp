// SPDX-License-Identifier: Apache-2.0
// Hot shards move to idle devices while the cache is in use; nothing is lost and nothing counts
// twice.
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <thread>

#include "support/cache_harness.hpp"

namespace pikv::test {
namespace {

constexpr std::uint32_t experts = 8;

config::settings packing(std::uint32_t devices, config::settle_granularity granularity) {
  auto s = small_settings();
  s.cache.granularity = granularity;
  s.devices.count = devices;
  s.cache.shards = experts;
  s.cache.page_tokens = 8;
  s.cache.sinks = 0; // a page is 8 tokens of one label
  s.cache.stored = dtype::f32;
  s.placement = choose("eplb");
  s.selection = choose("mass", {{"share", .5}});
  return s;
}

class rebalanced : public ::testing::TestWithParam<config::settle_granularity> {
protected:
  /// Layer 1 gets pages of the experts that all live on device 0 at first.
  void grow(std::uint32_t n) {
    for (std::uint32_t i = 0; i < n; i += 8) {
      const auto end = h->sequences[0].layers[0].tokens;
      h->fill(0, 0, 8);
      std::vector<float> gate(8 * experts);
      const auto expert = end / 8 * devices % experts;
      for (std::uint32_t t = 0; t < 8; ++t)
        gate[t * experts + expert] = 1;
      const batch_part part{h->sequences[0].id, end, 8};
      ASSERT_TRUE(h->kv().annotate(0, std::span{&part, 1}, gate).wait().ok());
      h->fill(0, 1, 8);
    }
  }

  void check_exact() {
    const auto end = h->sequences[0].layers[1].tokens;
    auto a = h->attend(1, {{0, end - 2, 2}}, {.exact = true});
    ASSERT_TRUE(is_dense(*h, a));
    EXPECT_EQ(a.done.wait()->entries.read, a.done.wait()->entries.existing);
  }

  void read_some(int times) {
    const auto end = h->sequences[0].layers[1].tokens;
    for (int i = 0; i < times; ++i) {
      auto a = h->attend(1, {{0, end - 1, 1}});
      const auto& r = a.done.wait();
      ASSERT_TRUE(r.ok()) << to_string(r.error());
      ASSERT_TRUE(r->entries.adds_up());
    }
  }

  cache_usage usage() { return *h->kv().usage().wait(); }

  std::uint32_t devices = 2;
  std::optional<cache_harness> h;
};

TEST_P(rebalanced, hot_shards_move_and_every_entry_still_counts_once) {
  for (const std::uint32_t n : {2U, 4U}) {
    devices = n;
    h.emplace(packing(n, GetParam()), model_shape{2, 4, 2, 32, experts}, 1);
    h->plain_buffers = true;
    h->open();
    grow(400);
    const auto before = usage();
    // Layer 0 has no labels: it is striped. All of layer 1 is on the first device.
    const auto striped = before.devices[1].pages_settled;
    EXPECT_GT(before.devices[0].pages_settled, 2 * striped);
    const auto begin = std::chrono::steady_clock::now();
    auto now = before;
    while (std::chrono::steady_clock::now() - begin < std::chrono::seconds{15}) {
      read_some(20);
      check_exact();
      if (HasFatalFailure())
        return;
      now = usage();
      EXPECT_EQ(now.pages_settled, before.pages_settled);
      if (now.devices[0].pages_settled + 5 < before.devices[0].pages_settled)
        break;
      std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }
    EXPECT_LT(now.devices[0].pages_settled + 5, before.devices[0].pages_settled)
        << n << " devices: nothing moved";
    grow(80); // later pages go where their shard is now
    read_some(20);
    check_exact();
    const auto most = [this] {
      std::uint64_t x = 0;
      for (const auto& d : usage().devices)
        x = std::max(x, d.pages_settled);
      return x;
    };
    // Moves go on: where only few had been made before the later pages came, the rest follows.
    const auto grown = std::chrono::steady_clock::now();
    while (most() >= before.devices[0].pages_settled
           && std::chrono::steady_clock::now() - grown < std::chrono::seconds{15})
      read_some(20);
    EXPECT_LT(most(), before.devices[0].pages_settled);
    check_exact();
    EXPECT_TRUE(h->kv().close(h->sequences[0].id).wait().ok());
    EXPECT_EQ(usage().pages_settled, 0u);
  }
}

TEST_P(rebalanced, goes_on_under_appends_and_attends_of_many_sequences) {
  devices = 2;
  auto s = packing(2, GetParam());
  s.runtime.lanes = 2;
  h.emplace(s, model_shape{2, 2, 1, 32, experts}, 2);
  h->plain_buffers = true;
  for (int i = 0; i < 4; ++i)
    h->open();
  const auto begin = std::chrono::steady_clock::now();
  int rounds = 0;
  while (std::chrono::steady_clock::now() - begin < std::chrono::seconds{5}) {
    std::vector<pending_attend> attends;
    for (std::size_t x = 0; x < h->sequences.size(); ++x) {
      const auto end = h->sequences[x].layers[0].tokens;
      if (end < 600) {
        std::vector<float> gate(8 * experts);
        const auto expert = 2 * (h->pick(3));
        for (std::uint32_t t = 0; t < 8; ++t)
          gate[t * experts + expert] = 1;
        const batch_part part{h->sequences[x].id, end, 8};
        h->fill(x, 0, 8);
        ASSERT_TRUE(h->kv().annotate(0, std::span{&part, 1}, gate).wait().ok());
        h->fill(x, 1, 8);
      }
      const auto last = h->sequences[x].layers[1].tokens;
      attends.push_back(h->attend(1, {{x, last - 1, 1}}));
      attends.push_back(h->attend(1, {{x, last - 1, 1}}, {.exact = true}));
    }
    for (std::size_t i = 0; i < attends.size(); ++i) {
      const auto& r = attends[i].done.wait();
      ASSERT_TRUE(r.ok()) << to_string(r.error());
      if (i % 2 == 1) {
        ASSERT_TRUE(is_dense(*h, attends[i])) << rounds;
      }
    }
    ++rounds;
  }
  const auto u = usage();
  EXPECT_GT(u.devices[1].pages_settled, u.pages_settled / 4);
}

INSTANTIATE_TEST_SUITE_P(by, rebalanced,
                         ::testing::Values(config::settle_granularity::page,
                                           config::settle_granularity::entry),
                         [](const auto& x) {
                           return x.param == config::settle_granularity::page ? "page" : "entry";
                         });

} // namespace
} // namespace pikv::test
