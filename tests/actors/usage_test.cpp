// SPDX-License-Identifier: Apache-2.0
// What devices hold: the sums of a cache, and the share of each device.
#include <gtest/gtest.h>

#include "support/cache_harness.hpp"

namespace pikv::test {
namespace {

constexpr std::uint32_t devices = 4;
constexpr std::uint32_t page_bytes = 8 * 2 * 2 * 32 * 4; // tokens, K and V, KV heads, dim, f32

config::settings four_devices() {
  auto s = small_settings();
  s.cache = {8, dtype::f32, 3, 16, 8, 0};
  s.devices.count = devices;
  s.runtime.lanes = 1;
  s.placement = {"stripe", {}};
  return s;
}

cache_harness harness(const config::settings& s) {
  cache_harness h{s, {2, 4, 2, 32, 0}, 5};
  h.plain_buffers = true;
  return h;
}

void fill_all(cache_harness& h, std::uint32_t tokens) {
  const auto x = h.open();
  for (std::uint32_t layer = 0; layer < h.shape().layers; ++layer)
    h.fill(x, layer, tokens);
}

/// Settled pages move after their append has ended; an attend comes behind them.
cache_usage settled_usage(cache_harness& h) {
  for (std::size_t x = 0; x < h.sequences.size(); ++x)
    for (std::uint32_t layer = 0; layer < h.shape().layers; ++layer) {
      const auto last = h.sequences[x].layers[layer].tokens - 1;
      const auto read = h.attend(layer, {{x, last, 1}});
      EXPECT_TRUE(is_dense(h, read));
    }
  auto usage = h.kv().usage().wait();
  EXPECT_TRUE(usage.ok()) << to_string(usage.code());
  return *usage;
}

TEST(usage, of_the_devices_adds_up_to_the_total) {
  auto s = four_devices();
  s.selection = choose("mass", {{"share", 1.0}}); // pages carry summaries
  auto h = harness(s);
  for (const auto tokens : {100U, 37U, 260U})
    fill_all(h, tokens);
  const auto u = settled_usage(h);
  ASSERT_EQ(u.devices.size(), devices);
  cache_usage sum;
  for (std::uint32_t d = 0; d < devices; ++d) {
    const auto& x = u.devices[d];
    EXPECT_EQ(x.device, device_id{d});
    EXPECT_EQ(x.reserved_bytes + x.table_bytes - x.table_copy_bytes, x.total_bytes());
    EXPECT_LE(x.free_bytes, x.overhead_bytes);
    EXPECT_EQ(x.reserved_bytes, h.run().status().devices[d].memory_reserved_bytes);
    sum.sequences += x.sequences;
    sum.pages_window += x.pages_window;
    sum.pages_settled += x.pages_settled;
    sum.page_bytes += x.page_bytes;
    sum.summary_bytes += x.summary_bytes;
    sum.table_bytes += x.table_bytes;
    sum.overhead_bytes += x.overhead_bytes;
  }
  EXPECT_EQ(sum.sequences, 3U);
  EXPECT_EQ(sum.sequences, u.sequences);
  EXPECT_EQ(sum.pages_window, u.pages_window);
  EXPECT_EQ(sum.pages_settled, u.pages_settled);
  EXPECT_EQ(sum.page_bytes, u.page_bytes);
  EXPECT_EQ(sum.page_bytes, (u.pages_window + u.pages_settled) * page_bytes);
  EXPECT_EQ(sum.summary_bytes, u.summary_bytes);
  EXPECT_GT(sum.summary_bytes, 0U);
  EXPECT_EQ(sum.table_bytes, u.table_bytes);
  EXPECT_EQ(sum.overhead_bytes, u.overhead_bytes);
  EXPECT_EQ(sum.total_bytes(), u.total_bytes());
}

TEST(usage, of_each_device_is_its_share_of_striped_pages) {
  auto h = harness(four_devices());
  fill_all(h, 3 + 16 + 8 * 42);
  const auto u = settled_usage(h);
  for (std::uint32_t d = 0; d < devices; ++d) {
    std::uint64_t pages = 0;
    for (std::uint32_t layer = 0; layer < 2; ++layer)
      for (std::uint32_t page = 0; page < 42; ++page)
        pages += (page + layer) % 8 % devices == d ? 1U : 0U;
    EXPECT_EQ(u.devices[d].pages_settled, pages) << "device " << d;
    EXPECT_EQ(u.devices[d].page_bytes, (pages + u.devices[d].pages_window) * page_bytes);
  }
}

TEST(usage, of_a_window_lies_on_the_home_device) {
  auto h = harness(four_devices());
  fill_all(h, 3 + 16 + 8 * 5); // per layer: a page of sinks and two of the window
  fill_all(h, 3 + 16);
  const auto u = settled_usage(h);
  std::uint32_t homes = 0;
  for (const auto& x : u.devices) {
    EXPECT_LE(x.sequences, 1U) << "sequences take turns";
    EXPECT_EQ(x.pages_window, x.sequences * 2 * 3);
    homes += x.sequences > 0 ? 1U : 0U;
  }
  EXPECT_EQ(homes, 2U);
}

TEST(usage, of_a_closed_sequence_is_given_back) {
  auto h = harness(four_devices());
  fill_all(h, 200);
  EXPECT_GT(settled_usage(h).devices[1].reserved_bytes, 0U);
  ASSERT_TRUE(h.kv().close(h.sequences[0].id).wait().ok());
  h.sequences.clear();
  for (const auto& x : settled_usage(h).devices)
    EXPECT_EQ(x.total_bytes(), 0U);
}

} // namespace
} // namespace pikv::test
