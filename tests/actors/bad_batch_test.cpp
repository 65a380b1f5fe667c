// SPDX-License-Identifier: Apache-2.0
// An append is all or nothing: one bad part leaves every other part of its batch unappended.
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

} // namespace
} // namespace pikv::test
