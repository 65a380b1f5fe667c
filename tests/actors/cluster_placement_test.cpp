// SPDX-License-Identifier: Apache-2.0
// Pages that are placed by their keys: one shard of a good clustering holds what a query wants.
#include <gtest/gtest.h>

#include "support/cache_harness.hpp"

namespace pikv::test {
namespace {

constexpr std::uint32_t groups = 4;

config::settings placed_by(const char* placement, std::uint32_t devices) {
  auto s = small_settings();
  s.devices.count = devices;
  s.cache.shards = groups;
  s.cache.page_tokens = 8;
  s.cache.sinks = 0;
  s.cache.window = 8;
  s.cache.stored = dtype::f32;
  s.placement = choose(placement);
  s.routing = choose("mass", {{"k", std::int64_t{1}}});
  return s;
}

/// A page of each group, with which the clusters begin, then three of each in turn. A group's keys
/// point into a direction of its own.
void grow(cache_harness& h, std::uint32_t tokens) {
  std::vector<step> steps{{0, 0, tokens}};
  auto [k, v] = h.random_kv(steps);
  const auto begin = h.sequences[0].layers[0].tokens;
  for (std::uint32_t t = 0; t < tokens; ++t)
    for (std::uint32_t head = 0; head < h.shape().kv_heads; ++head) {
      const auto page = (begin + t) / 8;
      const auto group = page < groups ? page : page / 3 % groups;
      for (std::uint32_t c = 0; c < groups; ++c)
        k.set(t, head, c, c == group ? 8.0F : 0.0F);
    }
  auto done = h.append(0, steps, std::move(k), std::move(v));
  ASSERT_TRUE(done.done.wait().ok()) << to_string(done.done.wait().code());
}

/// Mean coverage of queries that want one group each.
double coverage(const char* placement, std::uint32_t devices) {
  cache_harness h{placed_by(placement, devices), {1, 4, 2, 32, 0}, 3};
  h.plain_buffers = true;
  h.k_sigma = .3F;
  h.open();
  for (int i = 0; i < 40; ++i)
    grow(h, 1 + h.pick(24));
  double sum = 0;
  int n = 0;
  for (std::uint32_t group = 0; group < groups; ++group) {
    const auto end = h.sequences[0].layers[0].tokens;
    auto q = h.buffer(1, 4);
    q.fill_normal(h.rng, .1F);
    for (std::uint32_t head = 0; head < 4; ++head)
      q.set(0, head, group, 4.0F);
    auto a = h.attend(0, {{0, end - 1, 1}}, std::move(q), h.buffer(1, 4));
    const auto& r = a.done.wait();
    EXPECT_TRUE(r.ok()) << (r ? "" : to_string(r.error()));
    if (!r)
      return 0;
    EXPECT_TRUE(r->entries.adds_up());
    EXPECT_GT(r->entries.not_routed, 0u);
    for (std::uint32_t head = 0; head < 4; ++head, ++n)
      sum += std::exp(static_cast<double>(a.lse[head])
                      - h.dense(a, 0, head, [](std::uint32_t) { return true; }).lse);
  }
  auto all = h.attend(0, {{0, h.sequences[0].layers[0].tokens - 1, 1}}, {.exact = true});
  EXPECT_TRUE(is_dense(h, all)) << "whatever the placement";
  return sum / n;
}

TEST(cluster_placement, gathers_what_a_query_wants_in_one_shard) {
  for (const std::uint32_t devices : {1U, 3U}) {
    const auto clustered = coverage("cluster", devices);
    const auto striped = coverage("stripe", devices);
    EXPECT_GT(clustered, .95) << devices;
    EXPECT_LT(striped, .6) << devices;
  }
}

TEST(cluster_placement, gives_the_same_on_any_number_of_devices) {
  EXPECT_NEAR(coverage("cluster", 1), coverage("cluster", 2), 1e-6);
}

} // namespace
} // namespace pikv::test
