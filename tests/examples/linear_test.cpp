// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <initializer_list>
#include <random>

#include <moe_engine/linear.hpp>

namespace pikv::moe_engine {
namespace {

std::vector<float> random_values(std::size_t n, unsigned seed) {
  std::mt19937 random{seed};
  std::normal_distribution<float> value;
  std::vector<float> out(n);
  for (auto& x : out)
    x = value(random);
  return out;
}

/// Largest error of y = x * W^T against float64, in units of the sum of |x * w|.
double worst_error(std::size_t n, std::size_t k, std::size_t rows, std::size_t stride) {
  const auto w = random_values(n * k, 1);
  const auto x = random_values(rows * stride, 2);
  std::vector<float> y(rows * n, std::nanf(""));
  multiply(packed_matrix{w, n, k}, x.data(), rows, y.data(), stride);
  double worst = 0;
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t j = 0; j < n; ++j) {
      double exact = 0;
      double size = 1e-30;
      for (std::size_t i = 0; i < k; ++i) {
        const auto term =
            static_cast<double>(x[r * stride + i]) * static_cast<double>(w[j * k + i]);
        exact += term;
        size += std::abs(term);
      }
      // A result that is NaN must not pass: max would drop it.
      const auto error = std::abs(exact - static_cast<double>(y[r * n + j])) / size;
      worst = error <= worst ? worst : error;
      if (std::isnan(error))
        return error;
    }
  return worst;
}

TEST(linear, product_equals_float64_for_all_row_tails) {
  for (std::size_t rows = 1; rows <= 26; ++rows)
    EXPECT_LT(worst_error(64, 40, rows, 40), 1e-6) << rows;
}

TEST(linear, product_equals_float64_for_all_output_tails) {
  for (const std::size_t n : std::initializer_list<std::size_t>{1, 7, 16, 31, 32, 33, 80, 160})
    EXPECT_LT(worst_error(n, 17, 13, 17), 1e-6) << n;
}

TEST(linear, rows_may_lie_apart) { EXPECT_LT(worst_error(48, 24, 30, 48), 1e-6); }

} // namespace
} // namespace pikv::moe_engine
