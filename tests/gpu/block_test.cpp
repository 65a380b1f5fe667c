// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/memory/slab_arena.hpp>

#include <cstring>
#include <thread>

#include <gtest/gtest.h>

#include <pikv/gpu/memory/poison.hpp>

namespace pikv::gpu {
namespace {

constexpr std::size_t MiB = std::size_t{1} << 20;
constexpr device_id device_3{3};

slab_arena_ptr make_arena(std::size_t capacity) {
  return slab_arena::make(device_3, arena_kind::memory, capacity);
}

TEST(block, memory_goes_back_with_the_last_copy) {
  const auto a = make_arena(MiB);
  block x = *a->allocate(5000);
  block y = x;
  EXPECT_EQ(y.data(), x.data());
  x = {};
  EXPECT_EQ(a->usage().requested, 5000U);
  block z = std::move(y);
  EXPECT_FALSE(y); // NOLINT(bugprone-use-after-move): a moved-from block is empty
  z = {};
  EXPECT_EQ(a->usage().requested, 0U);
}

TEST(block, memory_outside_live_blocks_is_poisoned_for_address_sanitizer) {
#ifdef __SANITIZE_ADDRESS__
  const auto a = make_arena(MiB);
  block x = *a->allocate(100);
  const std::byte* data = x.data();
  EXPECT_EQ(__asan_region_is_poisoned(x.data(), 100), nullptr);
  EXPECT_TRUE(__asan_address_is_poisoned(data + 100));
  x = {};
  EXPECT_TRUE(__asan_address_is_poisoned(data));
#else
  GTEST_SKIP() << "needs a build with AddressSanitizer";
#endif
}

TEST(block, copies_may_outlive_the_arena) {
  auto a = make_arena(MiB);
  block x = *a->allocate(1000);
  a.reset();
  std::memset(x.data(), 1, 1000);
  block y = x;
  x = {};
  EXPECT_EQ(std::to_integer<int>(y.data()[999]), 1);
}

TEST(share, gives_the_named_block) {
  const auto a = make_arena(MiB);
  block x = *a->allocate(777);
  const auto y = a->share(x.ref());
  ASSERT_TRUE(y.ok());
  EXPECT_EQ(y->data(), x.data());
  EXPECT_EQ(y->ref(), x.ref());
  x = {};
  EXPECT_EQ(a->usage().requested, 777U);
}

TEST(share, refuses_a_freed_block_also_when_its_slot_is_in_use_again) {
  const auto a = make_arena(MiB);
  block x = *a->allocate(777);
  const buffer_ref stale = x.ref();
  x = {};
  EXPECT_EQ(a->share(stale).code(), errc::corrupt_page);
  const block next = *a->allocate(777);
  ASSERT_EQ(next.ref().slot, stale.slot);
  const auto shared = a->share(stale);
  ASSERT_EQ(shared.code(), errc::corrupt_page);
  EXPECT_NE(shared.error().what.find("was freed"), std::string::npos);
  EXPECT_EQ(a->usage().requested, 777U);
}

TEST(share, refuses_names_that_were_never_given_out) {
  const auto a = make_arena(MiB);
  const block x = *a->allocate(64);
  buffer_ref far = x.ref();
  far.slot = 4'000'000'000;
  EXPECT_EQ(a->share(far).code(), errc::corrupt_page);
  buffer_ref longer = x.ref();
  longer.bytes = 65;
  EXPECT_EQ(a->share(longer).code(), errc::corrupt_page);
  EXPECT_EQ(a->share({.device = device_3}).code(), errc::corrupt_page);
}

TEST(share, refuses_names_of_another_arena) {
  const auto a = make_arena(MiB);
  const auto other = slab_arena::make(device_3, arena_kind::scratch, MiB);
  const block x = *other->allocate(64);
  EXPECT_EQ(a->share(x.ref()).code(), errc::invalid_argument);
}

TEST(share, racing_with_the_last_drop_gives_the_block_or_an_error_but_never_another_block) {
  const auto a = make_arena(MiB);
  for (int round = 0; round < 2000; ++round) {
    block x = *a->allocate(256);
    const buffer_ref name = x.ref();
    std::thread drop([held = std::move(x), &a]() mutable {
      held = {};
      const block next = *a->allocate(256);
    });
    const auto y = a->share(name);
    if (y.ok()) {
      EXPECT_EQ(y->ref(), name);
    }
    drop.join();
  }
  EXPECT_EQ(a->usage().used, 0U);
}

} // namespace
} // namespace pikv::gpu
