// SPDX-License-Identifier: Apache-2.0
// An append is all or nothing: one bad part leaves every other part of its batch unappended.
#include <thread>

#include <gtest/gtest.h>

#include "support/cache_harness.hpp"

namespace pikv::test {
namespace {

/// Batches of a good part and a bad one, over all lanes and both devices.
void expect_all_or_nothing(std::uint32_t lanes) {
  auto s = small_settings();
  s.runtime.lanes = lanes;
  s.devices.count = 2;
  cache_harness h{s, {1, 4, 2, 32, 0}, 1};
  h.open();
  h.fill(0, 0, 5);
  const auto id = h.sequences[0].id;
  const auto append = [&h](std::vector<batch_part> parts, std::uint32_t rows) {
    auto k = h.buffer(rows, 2), v = h.buffer(rows, 2);
    return h.kv().append(0, parts, k.in(), v.in()).wait().code();
  };
  for (std::uint32_t other = 1; other < 2 * lanes + 2; ++other) {
    const auto good = *h.kv().open(); // in another lane or on another device each time
    EXPECT_EQ(append({{good, 0, 2}, {id, 9, 1}}, 3), errc::position_gap);
    EXPECT_EQ(append({{good, 0, 3}}, 3), errc::ok) << "a part of a refused batch was appended";
    EXPECT_EQ(append({{good, 3, 2}, {{id.value + (1U << 20)}, 0, 1}}, 3), errc::unknown_sequence);
    EXPECT_EQ(append({{good, 3, 3}}, 3), errc::ok) << "a part of a refused batch was appended";
  }
}

TEST(bad_batch, one_bad_part_leaves_those_on_other_devices_as_they_were) {
  expect_all_or_nothing(1);
}

TEST(bad_batch, one_bad_part_leaves_those_in_other_lanes_as_they_were) { expect_all_or_nothing(2); }

/// Batches of some of the own sequences; one in three also has a part that must be refused. Attends
/// are sent behind each before it has ended.
void append_at_random(cache_harness& h, int batches) {
  for (int i = 0; i < 6; ++i)
    h.open();
  for (int i = 0; i < batches && !::testing::Test::HasFailure(); ++i) {
    std::vector<step> steps;
    for (std::size_t s = 0; s < h.sequences.size(); ++s)
      if (h.pick(2) == 0)
        steps.push_back({s, 0, 1 + h.pick(20)});
    if (steps.empty())
      continue;
    if (h.pick(3) == 0) {
      auto parts = h.parts(steps);
      for (std::size_t k = 0; k < steps.size(); ++k)
        parts[k].position = h.sequences[steps[k].sequence].layers[0].tokens;
      parts[h.pick(static_cast<std::uint32_t>(parts.size()))].position += 1 + h.pick(3);
      auto [k, v] = h.random_kv(steps);
      const auto refused = h.kv().append(0, parts, k.in(), v.in());
      EXPECT_EQ(refused.wait().code(), errc::position_gap);
    }
    auto append = h.append(0, steps);
    auto attend = h.attend(0, steps);
    EXPECT_TRUE(append.done.wait().ok()) << to_string(append.done.wait().code());
    EXPECT_TRUE(is_dense(h, attend));
  }
}

TEST(bad_batch, threads_with_batches_over_all_lanes_neither_block_nor_mix) {
  auto s = small_settings();
  s.runtime.lanes = 3;
  s.runtime.actor_threads = 2;
  s.devices.count = 2;
  s.limits.deadline = std::chrono::seconds{10};
  cache_harness h{s, {1, 4, 2, 32, 0}, 1};
  std::vector<std::jthread> threads;
  for (std::uint64_t t = 0; t < 4; ++t)
    threads.emplace_back([&h, &s, t] {
      cache_harness own{h.kv(), s.cache.stored, 10 + t};
      append_at_random(own, 60);
    });
}

} // namespace
} // namespace pikv::test
