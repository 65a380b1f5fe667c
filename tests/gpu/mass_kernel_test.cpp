// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <pikv/gpu/host/kernels.hpp>
#include <pikv/gpu/host/worker_pool.hpp>

namespace pikv::gpu {
namespace {

constexpr float none = -std::numeric_limits<float>::infinity();

std::vector<float> mass_of(const page_mass_args& in) {
  std::vector<float> mass(in.pages);
  auto args = in;
  args.mass = mass.data();
  serial_executor x;
  host_kernels().page_mass(args, x);
  return mass;
}

TEST(page_mass, equals_the_float64_sum_over_rows_and_the_mean_over_heads) {
  std::mt19937 g{3};
  std::normal_distribution<float> noise{0, 4};
  for (int i = 0; i < 500; ++i) {
    const auto rows = static_cast<std::uint32_t>(1 + g() % 20);
    const auto heads = static_cast<std::uint32_t>(1 + g() % 8);
    const auto pages = static_cast<std::uint32_t>(1 + g() % 200);
    std::vector<float> page_lse(std::size_t{rows} * heads * pages);
    std::vector<float> lse(std::size_t{rows} * heads);
    for (auto& x : page_lse)
      x = g() % 9 == 0 ? none : noise(g);
    for (auto& x : lse)
      x = g() % 9 == 0 ? none : 9 + noise(g);
    const auto mass = mass_of({rows, heads, pages, page_lse.data(), lse.data(), nullptr});
    for (std::uint32_t p = 0; p < pages; ++p) {
      double want = 0;
      for (std::size_t r = 0; r < lse.size(); ++r)
        if (std::isfinite(lse[r]))
          want +=
              std::exp(static_cast<double>(page_lse[r * pages + p]) - static_cast<double>(lse[r]));
      want /= heads;
      ASSERT_NEAR(static_cast<double>(mass[p]), want, 1e-5 * want + 1e-30)
          << "case " << i << ", page " << p;
    }
  }
}

TEST(page_mass, rows_that_read_nothing_add_nothing) {
  const std::vector<float> page_lse(40, 1.0F);
  const std::vector<float> lse(2, none);
  for (const float m : mass_of({2, 1, 20, page_lse.data(), lse.data(), nullptr}))
    EXPECT_EQ(m, 0);
}

} // namespace
} // namespace pikv::gpu
