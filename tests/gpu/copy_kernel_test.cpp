// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include <pikv/gpu/host/kernels.hpp>
#include <pikv/gpu/host/thread_pool.hpp>

namespace pikv::gpu {
namespace {

std::vector<std::byte> noise(std::mt19937_64& rng, std::size_t n) {
  std::vector<std::byte> x(n);
  for (auto& b : x)
    b = static_cast<std::byte>(rng());
  return x;
}

TEST(copy_kernel, copies_every_item_and_nothing_else) {
  std::mt19937_64 rng(1);
  thread_pool pool{2, std::chrono::microseconds{0}, "test"};
  for (int round = 0; round < 200; ++round) {
    const auto from = noise(rng, 4096);
    auto to = noise(rng, 4096), want = to;
    std::vector<copy_item> items;
    for (std::size_t at = 0; at < 4096;) {
      const auto n = std::min<std::size_t>(4096 - at, 1 + rng() % 700);
      if (rng() % 2 == 0) {
        items.push_back({from.data() + at, to.data() + at, n});
        std::copy_n(from.data() + at, n, want.data() + at);
      }
      at += n;
    }
    host_kernels().copy(items, pool);
    EXPECT_EQ(to, want);
  }
}

TEST(copy_kernel, a_checksum_tells_any_flipped_bit) {
  std::mt19937_64 rng(2);
  serial_executor here;
  for (int round = 0; round < 200; ++round) {
    auto x = noise(rng, 1 + rng() % 9000);
    const auto sum = [&] {
      const std::span<const std::byte> run{x};
      std::uint64_t out = 0;
      host_kernels().checksum({{&run, 1}, {&out, 1}}, here);
      return out;
    };
    const auto before = sum();
    EXPECT_EQ(sum(), before);
    x[rng() % x.size()] ^= static_cast<std::byte>(1U << rng() % 8);
    EXPECT_NE(sum(), before);
  }
}

} // namespace
} // namespace pikv::gpu
