// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <numeric>
#include <vector>

#include <moe_engine/vector_math.hpp>

namespace pikv::moe_engine {
namespace {

std::vector<float> ramp(std::size_t n, float from, float to) {
  std::vector<float> out(n);
  for (std::size_t i = 0; i < n; ++i)
    out[i] = from + (to - from) * static_cast<float>(i) / static_cast<float>(n);
  return out;
}

TEST(vector_math, rms_norm_equals_float64) {
  for (const std::size_t n : std::initializer_list<std::size_t>{1, 15, 16, 37, 256}) {
    const auto x = ramp(n, -3, 2);
    const auto w = ramp(n, 0.5F, 2);
    std::vector<float> out(n);
    rms_norm(x, w, 1e-5F, out);
    double squares = 0;
    for (const double v : x)
      squares += v * v;
    const auto scale = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
    for (std::size_t i = 0; i < n; ++i)
      EXPECT_NEAR(out[i], static_cast<double>(x[i]) * scale * static_cast<double>(w[i]), 2e-6);
  }
}

TEST(vector_math, silu_multiply_equals_float64) {
  auto gate = ramp(203, -20, 20);
  const auto up = ramp(203, -1, 3);
  const auto before = gate;
  silu_multiply(gate, up);
  for (std::size_t i = 0; i < gate.size(); ++i) {
    const double x = before[i];
    EXPECT_NEAR(gate[i], x / (1 + std::exp(-x)) * static_cast<double>(up[i]), 1e-5);
  }
}

TEST(vector_math, silu_of_very_negative_values_is_zero) {
  std::vector<float> gate(17, -1e4F);
  silu_multiply(gate, std::vector<float>(17, 1.0F));
  for (const auto x : gate)
    EXPECT_NEAR(x, 0.0F, 1e-30F);
}

TEST(vector_math, rotate_half_turns_pairs) {
  for (const std::size_t half : std::initializer_list<std::size_t>{4, 16, 20}) {
    auto x = ramp(2 * half, 1, 2);
    const auto before = x;
    std::vector<float> c(half);
    std::vector<float> s(half);
    for (std::size_t i = 0; i < half; ++i) {
      c[i] = std::cos(static_cast<float>(i));
      s[i] = std::sin(static_cast<float>(i));
    }
    rotate_half(x, c, s);
    for (std::size_t i = 0; i < half; ++i) {
      EXPECT_NEAR(x[i], before[i] * c[i] - before[half + i] * s[i], 1e-6);
      EXPECT_NEAR(x[half + i], before[half + i] * c[i] + before[i] * s[i], 1e-6);
    }
  }
}

TEST(vector_math, log_sum_exp_equals_float64) {
  for (const std::size_t n : std::initializer_list<std::size_t>{1, 16, 33, 256}) {
    const auto x = ramp(n, -90, 95);
    double sum = 0;
    for (const double v : x)
      sum += std::exp(v - 95);
    EXPECT_NEAR(log_sum_exp(x), 95 + std::log(sum), 2e-5);
  }
}

TEST(vector_math, bf16_rounds_to_nearest_even) {
  const std::vector<float> x{std::bit_cast<float>(0x3F808000U), std::bit_cast<float>(0x3F818000U),
                             std::bit_cast<float>(0x3F808001U)};
  std::vector<std::uint16_t> out(3);
  narrow(dtype::bf16, x, out.data());
  EXPECT_EQ(out, (std::vector<std::uint16_t>{0x3F80, 0x3F82, 0x3F81}));
}

TEST(vector_math, bf16_keeps_nan_and_infinity) {
  const std::vector<float> x{std::bit_cast<float>(0x7FFFFFFFU),
                             std::numeric_limits<float>::infinity()};
  std::vector<std::uint16_t> out(2);
  narrow(dtype::bf16, x, out.data());
  std::vector<float> back(2);
  widen(dtype::bf16, out.data(), back);
  EXPECT_TRUE(std::isnan(back[0]));
  EXPECT_EQ(back[1], std::numeric_limits<float>::infinity());
}

TEST(vector_math, f16_survives_a_round_trip_of_all_finite_values) {
  for (std::uint32_t bits = 0; bits < 0x7C00; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    float wide = 0;
    widen(dtype::f16, &half, {&wide, 1});
    std::uint16_t back = 0xFFFF;
    narrow(dtype::f16, {&wide, 1}, &back);
    ASSERT_EQ(back, half);
  }
}

} // namespace
} // namespace pikv::moe_engine
