// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/router/shard_statistics.hpp>

#include <gtest/gtest.h>

namespace pikv {
namespace {

TEST(shard_statistics, adds_up_what_was_read_and_missed) {
  shard_statistics x{3};
  const shard_use first[] = {{0, 100, 0}, {2, 50, 3}};
  x.add(0, first);
  x.add(0, first);
  EXPECT_EQ(x.load(), (std::vector<float>{200, 0, 100}));
  EXPECT_EQ(x.misses(), (std::vector<float>{0, 0, 6}));
}

TEST(shard_statistics, halves_after_so_many_rows) {
  shard_statistics x{1};
  const shard_use use[] = {{0, 64, 8}};
  x.add(1, use);
  for (int i = 0; i < 4; ++i)
    x.add(1024, {});
  EXPECT_NEAR(x.load()[0], 32, 1e-3);
  EXPECT_NEAR(x.misses()[0], 4, 1e-4);
}

TEST(shard_statistics, ignores_shards_that_it_does_not_know) {
  shard_statistics x{1};
  const shard_use use[] = {{5, 64, 8}};
  x.add(1, use);
  EXPECT_EQ(x.load(), std::vector<float>{0});
}

} // namespace
} // namespace pikv
