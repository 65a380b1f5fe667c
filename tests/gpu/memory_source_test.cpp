// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <pikv/gpu/memory/memory_source.hpp>
#include <pikv/gpu/memory/slab_arena.hpp>

namespace pikv::gpu {
namespace {

constexpr std::size_t grain = 4096;

/// Addresses that nobody may read: the source must not touch its region.
std::byte* nowhere() { return reinterpret_cast<std::byte*>(std::uintptr_t{1} << 40); }

TEST(region_source, hands_out_the_whole_region_and_no_more) {
  region_source s{nowhere(), 10 * grain + 100, {}};
  std::vector<std::byte*> all;
  for (int i = 0; i < 10; ++i)
    all.push_back(s.take(grain));
  std::ranges::sort(all);
  for (std::size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(all[i], nowhere() + i * grain);
  EXPECT_EQ(s.take(grain), nullptr);
}

TEST(region_source, neighbours_that_are_free_are_one_run_again) {
  region_source s{nowhere(), 3 * grain, {}};
  std::byte* part[] = {s.take(grain), s.take(grain), s.take(grain)};
  s.give_back(part[0], grain);
  s.give_back(part[2], grain);
  EXPECT_EQ(s.take(2 * grain), nullptr);
  s.give_back(part[1], grain);
  EXPECT_EQ(s.take(3 * grain), nowhere());
}

TEST(region_source, runs_never_overlap_and_nothing_is_lost) {
  std::mt19937_64 rng(1);
  constexpr std::size_t region = 256 * grain;
  for (int round = 0; round < 20; ++round) {
    region_source s{nowhere(), region, {}};
    std::map<std::byte*, std::size_t> taken;
    std::size_t bytes = 0;
    for (int i = 0; i < 2000; ++i) {
      if (rng() % 2 == 0 || taken.empty()) {
        const auto want = (1 + rng() % 20) * grain;
        auto* p = s.take(want);
        if (p == nullptr)
          continue;
        const auto next = taken.lower_bound(p);
        ASSERT_TRUE(next == taken.end() || p + want <= next->first);
        ASSERT_TRUE(next == taken.begin() || std::prev(next)->first + std::prev(next)->second <= p);
        ASSERT_TRUE(p >= nowhere() && p + want <= nowhere() + region);
        taken.emplace(p, want);
        bytes += want;
      } else {
        const auto x = std::next(taken.begin(), static_cast<std::ptrdiff_t>(rng() % taken.size()));
        s.give_back(x->first, x->second);
        bytes -= x->second;
        taken.erase(x);
      }
    }
    for (const auto& [p, n] : taken)
      s.give_back(p, n);
    EXPECT_EQ(s.take(region), nowhere());
  }
}

TEST(region_source, the_region_is_released_once_with_the_last_block_of_its_arena) {
  int released = 0;
  block kept;
  {
    auto a = slab_arena::make(
        {}, arena_kind::memory, 64 * grain, {},
        std::make_unique<region_source>(nowhere(), 64 * grain, [&] { ++released; }));
    kept = *a->allocate(5000);
    EXPECT_GE(kept.data(), nowhere());
    EXPECT_EQ(a->allocate(65 * grain).code(), errc::over_budget);
  }
  EXPECT_EQ(released, 0);
  kept = {};
  EXPECT_EQ(released, 1);
}

} // namespace
} // namespace pikv::gpu
