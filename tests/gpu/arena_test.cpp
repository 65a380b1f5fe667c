// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/memory/slab_arena.hpp>

#include <atomic>
#include <cstring>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace pikv::gpu {
namespace {

constexpr std::size_t KiB = 1024;
constexpr std::size_t MiB = 1024 * KiB;
constexpr device_id device_3{3};

slab_arena_ptr make_arena(std::size_t capacity) {
  return slab_arena::make(device_3, arena_kind::memory, capacity);
}

bool ordered(const arena_usage& x) {
  return x.requested <= x.used && x.used <= x.reserved && x.reserved <= x.mapped
         && x.mapped <= x.capacity && x.reserved <= x.high_water && x.high_water <= x.capacity;
}

std::vector<block> fill(arena& a, std::size_t bytes) {
  std::vector<block> held;
  for (;;) {
    auto x = a.allocate(bytes);
    if (!x)
      return held;
    held.push_back(std::move(*x));
  }
}

TEST(arena, blocks_are_aligned_to_64_bytes_and_as_large_as_asked) {
  const auto a = make_arena(64 * MiB);
  for (const std::size_t bytes :
       {1U, 63U, 64U, 65U, 577U, 4096U, 70'000U, 131'072U, 131'073U, 1'000'000U}) {
    const auto x = a->allocate(bytes);
    ASSERT_TRUE(x.ok());
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(x->data()) % 64, 0U);
    EXPECT_EQ(x->bytes(), bytes);
    std::memset(x->data(), 0xAB, bytes);
  }
}

TEST(arena, rounding_costs_at_most_an_eighth_beyond_64_bytes) {
  const auto a = make_arena(64 * MiB);
  for (std::size_t bytes = 1; bytes <= 300 * KiB; bytes += 61) {
    const std::size_t grains = (bytes + 63) / 64 * 64;
    const std::size_t rounded = a->rounded(bytes);
    ASSERT_GE(rounded, bytes);
    ASSERT_EQ(rounded % 64, 0U);
    ASSERT_LE(rounded - grains, grains / 8) << bytes;
  }
}

TEST(arena, used_counts_the_rounded_size_and_requested_the_size_as_asked) {
  const auto a = make_arena(64 * MiB);
  const auto x = a->allocate(1000);
  const auto y = a->allocate(500'000);
  EXPECT_EQ(a->usage().requested, 501'000U);
  EXPECT_EQ(a->usage().used, 1024U + 123 * 4 * KiB);
}

TEST(arena, zero_bytes_are_refused) {
  EXPECT_EQ(make_arena(MiB)->allocate(0).code(), errc::invalid_argument);
}

TEST(arena, a_full_arena_says_over_budget_and_serves_again_after_a_free) {
  const auto a = make_arena(MiB);
  auto held = fill(*a, 64 * KiB);
  EXPECT_EQ(held.size(), 16U);
  const auto more = a->allocate(64 * KiB);
  ASSERT_EQ(more.code(), errc::over_budget);
  EXPECT_NE(more.error().what.find("65536 bytes do not fit"), std::string::npos);
  held.pop_back();
  EXPECT_TRUE(a->allocate(64 * KiB).ok());
}

TEST(arena, sizes_beyond_any_capacity_are_over_budget) {
  const auto a = make_arena(MiB);
  for (std::size_t bytes : {MiB + 1, ~std::size_t{0}, ~std::size_t{0} - 4000})
    EXPECT_EQ(a->allocate(bytes).code(), errc::over_budget);
  EXPECT_EQ(make_arena(0)->allocate(1).code(), errc::over_budget);
}

TEST(arena, memory_that_the_system_refuses_is_over_budget_and_the_arena_lives_on) {
  const auto a = make_arena(std::size_t{1} << 60);
  const auto x = a->allocate(std::size_t{1} << 59);
  ASSERT_EQ(x.code(), errc::over_budget);
  EXPECT_NE(x.error().what.find("there is no run of"), std::string::npos);
  EXPECT_EQ(a->usage().mapped, 0U);
  EXPECT_TRUE(a->allocate(64).ok());
}

TEST(arena, an_empty_slab_serves_another_class) {
  const auto a = make_arena(MiB);
  const std::size_t small = fill(*a, 128).size(); // all given back at the end of the line
  EXPECT_EQ(small, MiB / 128);
  EXPECT_EQ(a->usage().reserved, 0U);
  EXPECT_EQ(fill(*a, 1024).size(), MiB / 1024);
  EXPECT_EQ(fill(*a, 256 * KiB).size(), 4U);
}

TEST(arena, freed_memory_is_handed_out_again_without_mapping_more) {
  const auto a = make_arena(64 * MiB);
  for (std::size_t bytes : {100 * KiB, 600 * KiB}) {
    const std::byte* first = a->allocate(bytes)->data();
    const std::size_t mapped = a->usage().mapped;
    EXPECT_EQ(a->allocate(bytes)->data(), first);
    EXPECT_EQ(a->usage().mapped, mapped);
  }
}

TEST(arena, the_last_of_the_budget_is_used_when_no_slab_fits) {
  const auto a = make_arena(MiB);
  const auto most = a->allocate(MiB - 4 * KiB);
  ASSERT_TRUE(most.ok());
  EXPECT_TRUE(a->allocate(64).ok()); // a slab has 16 KiB here
  EXPECT_EQ(a->usage().high_water, MiB);
}

TEST(arena, pages_of_one_size_waste_at_most_a_ninth_of_the_budget) {
  for (std::size_t bytes :
       {9 * KiB, 17 * KiB, 36 * KiB, 66 * KiB, 96 * KiB, 112 * KiB, 130 * KiB}) {
    const auto a = make_arena(64 * MiB);
    const std::size_t count = fill(*a, bytes).size();
    EXPECT_GE(count * a->rounded(bytes), 64 * MiB * 8 / 9) << bytes;
  }
}

TEST(arena, live_blocks_never_overlap) {
  const auto a = make_arena(4 * MiB);
  std::mt19937 random(7);
  std::vector<block> held;
  for (int i = 0; i < 20'000; ++i) {
    if (random() % 3 != 0)
      if (auto x = a->allocate(1 + random() % 20'000); x.ok())
        held.push_back(std::move(*x));
    if (!held.empty() && random() % 2 == 0) {
      std::swap(held[random() % held.size()], held.back());
      held.pop_back();
    }
  }
  std::set<std::pair<const std::byte*, const std::byte*>> spans;
  for (const block& x : held)
    spans.emplace(x.data(), x.data() + x.bytes());
  const std::byte* end = nullptr;
  for (const auto& [from, to] : spans) {
    ASSERT_GE(from, end);
    end = to;
  }
}

/// Allocates, checks and frees at random; counts what it saw go wrong.
struct churn {
  slab_arena& a;
  std::atomic<int>& wrong;

  void operator()(unsigned seed) const {
    std::mt19937 random(seed);
    std::vector<block> held;
    for (int i = 0; i < 4000; ++i) {
      const std::size_t bytes = random() % 8 == 0 ? random() % 200'000 : random() % 6'000;
      if (auto x = a.allocate(bytes + 1); x.ok()) {
        std::memset(x->data(), static_cast<int>(seed), x->bytes());
        held.push_back(std::move(*x));
      } else if (x.code() != errc::over_budget) {
        ++wrong;
      }
      while (held.size() > 60 || (!held.empty() && random() % 2 == 0)) {
        std::swap(held[random() % held.size()], held.back());
        check(held.back(), seed);
        held.pop_back();
      }
      if (!ordered(a.usage()))
        ++wrong;
    }
  }

  void check(const block& x, unsigned seed) const {
    const auto mark = static_cast<std::byte>(seed);
    const auto shared = a.share(x.ref());
    if (!shared || shared->data()[0] != mark || shared->data()[x.bytes() - 1] != mark)
      ++wrong;
  }
};

TEST(arena, keeps_its_budget_and_its_blocks_apart_under_many_threads) {
  const auto a = make_arena(2 * MiB);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned i = 1; i <= 6; ++i)
    threads.emplace_back(churn{*a, wrong}, i);
  for (auto& x : threads)
    x.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(a->usage().used, 0U);
  EXPECT_EQ(a->usage().reserved, 0U);
  EXPECT_GT(a->usage().high_water, MiB);
}

} // namespace
} // namespace pikv::gpu
