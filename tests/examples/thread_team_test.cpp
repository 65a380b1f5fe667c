// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <initializer_list>
#include <thread>
#include <vector>

#include <moe_engine/thread_team.hpp>

namespace pikv::moe_engine {
namespace {

TEST(thread_team, runs_each_part_once) {
  for (const std::size_t threads : std::initializer_list<std::size_t>{1, 2, 5}) {
    thread_team team{threads};
    for (std::size_t parts = 0; parts < 70; ++parts) {
      std::vector<std::atomic<int>> runs(parts);
      team.run(parts, [&](std::size_t i) { ++runs[i]; });
      for (const auto& x : runs)
        ASSERT_EQ(x, 1);
    }
  }
}

TEST(thread_team, what_parts_write_is_visible_afterwards) {
  thread_team team{3};
  std::vector<std::size_t> written(64);
  for (std::size_t round = 1; round < 500; ++round) {
    team.run(written.size(), [&](std::size_t i) { written[i] = i * round; });
    for (std::size_t i = 0; i < written.size(); ++i)
      ASSERT_EQ(written[i], i * round);
  }
}

TEST(thread_team, zero_threads_means_one_a_core) {
  EXPECT_EQ(thread_team{0}.threads(), std::max(1U, std::thread::hardware_concurrency()));
}

TEST(thread_team, an_idle_team_takes_no_processor_time) {
  thread_team team{4};
  team.run(8, [](std::size_t) {});
  const auto before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds{200});
  const auto used_seconds = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  EXPECT_LT(used_seconds, 0.05);
}

} // namespace
} // namespace pikv::moe_engine
