// SPDX-License-Identifier: Apache-2.0
// Entries that are placed one by one, while things change around them: placements, the order of
// calls, audits, closing.
#include <chrono>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include <pikv/actors/cache_access.hpp>

#include "support/exposition.hpp"
#include "support/labelled_sequence.hpp"

namespace pikv::test {
namespace {

constexpr const char* placements[] = {"stripe", "hash", "gate", "cluster", "eplb"};

config::settings narrowed(const char* placement, std::uint32_t devices) {
  auto s = entry_settings(placement, devices);
  s.routing = choose("mass", {{"k", std::int64_t{1}}});
  return s;
}

TEST(entry_changes, placements_are_reloaded_while_pages_are_open) {
  std::mt19937_64 rng(1);
  for (const std::uint32_t devices : {1U, 3U}) {
    auto s = entry_settings("stripe", devices);
    cache_harness h{s, {2, 2, 1, 32, experts}, 12};
    labelled x{h, h.open()};
    for (int i = 0; i < 120 && !HasFailure(); ++i) {
      s.placement = choose(placements[rng() % std::size(placements)]);
      ASSERT_TRUE(h.run().reload(s).wait().ok());
      const auto n = 1 + h.pick(12);
      auto appends = x.grow(n); // the reload and what settles by it cross
      const auto end = static_cast<std::uint32_t>(x.labels.size());
      for (const std::uint32_t layer : {0U, 1U})
        EXPECT_TRUE(is_dense(h, h.attend(layer, {{x.sequence, end - n, n}})))
            << s.placement.name << " on " << devices << ", " << end << " tokens";
      expect_ok(appends);
    }
  }
}

TEST(entry_changes, routes_hold_after_a_reload_of_the_placement) {
  cache_harness h{narrowed("gate", 2), {2, 2, 1, 32, experts}, 13};
  labelled x{h, h.open()};
  std::uint64_t not_routed = 0;
  for (std::size_t i = 0; i < 100; ++i) {
    if (i % 7 == 0) {
      EXPECT_TRUE(h.run().reload(narrowed(placements[i % std::size(placements)], 2)).wait().ok());
    }
    expect_ok(x.grow(1 + h.pick(12)));
    const auto a = h.attend(1, {{0, static_cast<std::uint32_t>(x.labels.size()) - 1, 1}});
    ASSERT_TRUE(a.done.wait().ok());
    EXPECT_TRUE(a.done.wait()->entries.adds_up());
    EXPECT_EQ(a.done.wait()->entries.lost + a.done.wait()->entries.evicted, 0U);
    not_routed += a.done.wait()->entries.not_routed;
  }
  EXPECT_GT(not_routed, 0U);
}

struct answer {
  std::vector<std::byte> out;
  std::uint64_t read = 0;
  bool operator==(const answer&) const = default;
};

/// The same entries and labels, layer 1 before or behind layer 0 and its labels.
std::vector<answer> play_in_order(const config::settings& s, bool second_first) {
  cache_harness h{s, {2, 2, 1, 32, experts}, 14};
  h.plain_buffers = true;
  h.open();
  std::vector<answer> out;
  for (int i = 0; i < 80; ++i) {
    const auto n = 1 + h.pick(6); // an entry is labelled before it leaves the window of 12
    std::vector<std::uint32_t> labels;
    for (std::uint32_t t = 0; t < n; ++t)
      labels.push_back(h.pick(experts));
    std::vector<step> first{{0, 0, n}}, second{{0, 0, n}};
    auto a = h.random_kv(first), b = h.random_kv(second);
    std::vector<pending_append> appends;
    if (second_first)
      appends.push_back(h.append(1, second, std::move(b.first), std::move(b.second)));
    appends.push_back(h.append(0, first, std::move(a.first), std::move(a.second)));
    const batch_part part{h.sequences[0].id, first[0].position, n};
    EXPECT_TRUE(h.kv().annotate(0, std::span{&part, 1}, gate_of(labels, 0)).wait().ok());
    if (!second_first)
      appends.push_back(h.append(1, second, std::move(b.first), std::move(b.second)));
    const auto q = h.attend(1, {{0, first[0].position, n}});
    EXPECT_TRUE(q.done.wait().ok() && q.done.wait()->entries.adds_up());
    out.push_back({q.out.bytes(), q.done.wait().ok() ? q.done.wait()->entries.read : 0});
    expect_ok(appends);
  }
  return out;
}

TEST(entry_changes, the_order_of_layers_and_labels_changes_no_bit) {
  for (const auto* placement : placements)
    for (const std::uint32_t devices : {1U, 3U}) {
      const auto s = narrowed(placement, devices);
      const auto want = play_in_order(s, false);
      EXPECT_EQ(play_in_order(s, false), want) << placement << ": not even the same twice";
      EXPECT_EQ(play_in_order(s, true), want) << placement << " on " << devices;
    }
}

TEST(entry_changes, usage_adds_up_and_is_given_back) {
  constexpr std::uint64_t page_bytes = 8 * 2 * 32 * 4; // tokens, K and V, dim, f32
  for (const std::uint32_t devices : {1U, 3U}) {
    cache_harness h{entry_settings("gate", devices), {2, 2, 1, 32, experts}, 15};
    for (int k = 0; k < 3; ++k) {
      labelled x{h, h.open()};
      for (int i = 0; i < 20; ++i)
        expect_ok(x.grow(1 + h.pick(24)));
      const auto end = static_cast<std::uint32_t>(x.labels.size());
      for (const std::uint32_t layer : {0U, 1U}) // comes behind what settles
        EXPECT_TRUE(is_dense(h, h.attend(layer, {{x.sequence, end - 1, 1}})));
    }
    const auto u = h.kv().usage().wait();
    ASSERT_TRUE(u.ok());
    std::uint64_t reserved = 0, room = 0;
    for (const auto& d : u->devices) {
      reserved += d.reserved_bytes;
      EXPECT_EQ(d.reserved_bytes + d.table_bytes - d.table_copy_bytes, d.total_bytes());
      EXPECT_EQ(d.reserved_bytes, h.run().status().devices[d.device.value].memory_reserved_bytes);
    }
    room = (u->pages_settled + u->pages_window) * 8;
    EXPECT_EQ(u->page_bytes, (u->pages_settled + u->pages_window) * page_bytes);
    std::uint64_t entries = 0;
    for (const auto& s : h.sequences)
      entries += 2 * std::uint64_t{s.layers[0].tokens};
    EXPECT_GE(room, entries) << "every entry is somewhere";
    EXPECT_LE(room, entries + h.sequences.size() * 2 * 8 * (4 + 4)) << "one open page a shard";
    for (const auto& s : h.sequences)
      EXPECT_TRUE(h.kv().close(s.id).wait().ok());
    h.sequences.clear();
    for (const auto& d : h.run().status().devices)
      EXPECT_EQ(d.memory_reserved_bytes, 0U);
  }
}

TEST(entry_changes, audits_change_no_bit_and_measure_what_float64_measures) {
  auto plain = narrowed("gate", 2);
  plain.fidelity.audit_share = 0;
  auto audited = plain;
  audited.fidelity.audit_share = 1;
  EXPECT_EQ(play_in_order(audited, false), play_in_order(plain, false));

  audited.metrics.enabled = true;
  audited.metrics.port = 0;
  cache_harness h{audited, {2, 2, 1, 32, experts}, 16};
  h.plain_buffers = true;
  labelled x{h, h.open()};
  double missed = 0;
  for (int i = 0; i < 25; ++i) {
    expect_ok(x.grow(1 + h.pick(16)));
    const auto a = h.attend(1, {{0, static_cast<std::uint32_t>(x.labels.size()) - 1, 1}});
    ASSERT_TRUE(a.done.wait().ok());
    for (std::uint32_t head = 0; head < 2; ++head)
      missed += (1 - std::exp(static_cast<double>(a.lse[head])
                              - h.dense(a, 0, head, [](std::uint32_t) { return true; }).lse))
                / 2;
    std::this_thread::sleep_for(std::chrono::milliseconds{20}); // the lane is idle
  }
  std::this_thread::sleep_for(std::chrono::milliseconds{2500}); // a tick, then a flush
  const auto text = read_exposition(cache_access::context(h.kv()).metrics->text());
  EXPECT_EQ(text["pikv_router_missed_mass_ratio_count{layer=\"1\"}"], 25);
  EXPECT_NEAR(text["pikv_router_missed_mass_ratio_sum{layer=\"1\"}"], missed, 1e-4);
  EXPECT_GT(missed, 0.1);
}

} // namespace
} // namespace pikv::test
