// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/host/thread_pool.hpp>

#include <array>
#include <atomic>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <pikv/gpu/host/polite_spin.hpp>

namespace pikv::gpu {
namespace {

using namespace std::chrono_literals;

TEST(serial_executor, runs_every_part_in_order_as_worker_0) {
  serial_executor x;
  std::vector<std::size_t> seen;
  static_cast<executor&>(x).run(4, [&](std::size_t i, std::size_t worker) {
    EXPECT_EQ(worker, 0U);
    seen.push_back(i);
  });
  EXPECT_EQ(seen, (std::vector<std::size_t>{0, 1, 2, 3}));
}

TEST(thread_pool, counts_the_caller_among_its_threads) {
  EXPECT_EQ(thread_pool(1, 0us, "test").threads(), 1U);
  EXPECT_EQ(thread_pool(3, 0us, "test").threads(), 3U);
}

TEST(thread_pool, runs_every_part_once_whatever_the_number_of_parts_and_threads) {
  for (const std::size_t threads : {1U, 2U, 4U})
    for (const auto spin : {0us, 50us}) {
      thread_pool pool(threads, spin, "test");
      for (const std::size_t parts : {0U, 1U, 2U, 3U, 7U, 64U, 1000U}) {
        std::vector<int> count(parts, 0); // unsynchronised on purpose: parts are apart
        pool.run(parts, [&](std::size_t i, std::size_t) { ++count[i]; });
        EXPECT_EQ(count, std::vector<int>(parts, 1)) << parts << " parts, " << threads;
      }
    }
}

TEST(thread_pool, a_run_of_two_parts_uses_two_threads) {
  thread_pool pool(2, 50us, "test");
  std::atomic<int> here{0};
  std::array<std::thread::id, 2> who;
  // Each part waits for the other: done by one thread, this would never end.
  pool.run(2, [&](std::size_t i, std::size_t) {
    who[i] = std::this_thread::get_id();
    ++here;
    detail::spin_until([&] { return here.load() == 2; });
  });
  EXPECT_NE(who[0], who[1]);
}

TEST(thread_pool, sleeping_helpers_wake_up) {
  thread_pool pool(3, 0us, "test");
  for (int round = 0; round < 200; ++round) {
    std::atomic<int> here{0};
    pool.run(3, [&](std::size_t, std::size_t) {
      ++here;
      detail::spin_until([&] { return here.load() == 3; });
    });
    EXPECT_EQ(here, 3);
    if (round % 20 == 0)
      std::this_thread::sleep_for(1ms); // long enough to fall asleep
  }
}

TEST(thread_pool, worker_numbers_are_below_threads_and_unique_at_a_time) {
  constexpr std::size_t threads = 4;
  thread_pool pool(threads, 50us, "test");
  std::array<std::atomic<int>, threads> inside{};
  std::atomic<int> wrong{0};
  for (int round = 0; round < 300; ++round)
    pool.run(16, [&](std::size_t, std::size_t worker) {
      if (worker >= threads || inside[worker].fetch_add(1) != 0)
        ++wrong;
      else
        inside[worker].fetch_sub(1);
    });
  EXPECT_EQ(wrong, 0);
}

TEST(thread_pool, a_part_may_run_parts_itself) {
  thread_pool pool(2, 50us, "test");
  std::atomic<int> count{0};
  pool.run(4, [&](std::size_t, std::size_t) {
    pool.run(5, [&](std::size_t, std::size_t) { ++count; });
  });
  EXPECT_EQ(count, 20);
}

TEST(thread_pool, a_caller_makes_progress_while_another_has_the_helpers) {
  thread_pool pool(2, 50us, "test");
  std::atomic<int> here{0};
  std::atomic<bool> leave{false};
  std::thread first([&] {
    pool.run(2, [&](std::size_t, std::size_t) {
      ++here;
      detail::spin_until([&] { return leave.load(); });
    });
  });
  detail::spin_until([&] { return here.load() == 2; }); // the only helper is taken
  int done = 0;
  pool.run(10, [&](std::size_t, std::size_t worker) { done += worker == 0 ? 1 : 100; });
  EXPECT_EQ(done, 10);
  leave = true;
  first.join();
}

TEST(thread_pool, results_are_visible_to_the_caller_when_run_returns) {
  thread_pool pool(3, 50us, "test");
  std::vector<std::size_t> out(300);
  for (std::size_t round = 1; round <= 500; ++round) {
    pool.run(out.size(), [&](std::size_t i, std::size_t) { out[i] = i * round; });
    ASSERT_EQ(std::accumulate(out.begin(), out.end(), std::size_t{0}), round * 299 * 300 / 2);
  }
}

TEST(thread_pool, concurrent_callers_each_get_exactly_their_parts) {
  for (const auto spin : {0us, 50us}) {
    thread_pool pool(3, spin, "test");
    std::atomic<int> wrong{0};
    const auto caller = [&](std::size_t seed) {
      for (std::size_t round = 0; round < 1500; ++round) {
        const std::size_t parts = 1 + (seed * 7 + round) % 9;
        std::vector<std::size_t> out(parts, 0);
        pool.run(parts, [&](std::size_t i, std::size_t) { out[i] += seed + i; });
        for (std::size_t i = 0; i < parts; ++i)
          if (out[i] != seed + i)
            ++wrong;
      }
    };
    std::vector<std::thread> callers;
    for (std::size_t i = 1; i <= 4; ++i)
      callers.emplace_back(caller, i * 1000);
    for (auto& x : callers)
      x.join();
    EXPECT_EQ(wrong, 0);
  }
}

TEST(thread_pool, ends_at_once_whether_helpers_spin_or_sleep) {
  for (int i = 0; i < 50; ++i) {
    thread_pool spinning(3, 10s, "test");
    thread_pool sleeping(3, 0us, "test");
    if (i % 10 == 0)
      std::this_thread::sleep_for(1ms);
  }
}

} // namespace
} // namespace pikv::gpu
