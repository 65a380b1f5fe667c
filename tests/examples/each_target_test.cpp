// SPDX-License-Identifier: Apache-2.0
// The same facts on every instruction set that this processor has, not only on its best.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include <hwy/targets.h>

#include <moe_engine/dense_attention.hpp>
#include <moe_engine/linear.hpp>
#include <moe_engine/vector_math.hpp>

namespace pikv::moe_engine {
namespace {

class each_target : public testing::TestWithParam<std::int64_t> {
protected:
  void SetUp() override { choose(GetParam()); }
  void TearDown() override { choose(0); } // 0: whatever the processor has

  static void choose(std::int64_t targets) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

std::vector<std::int64_t> targets() {
  std::vector<std::int64_t> out;
  for (auto rest = static_cast<std::uint64_t>(hwy::SupportedTargets()); rest != 0; rest &= rest - 1)
    out.push_back(static_cast<std::int64_t>(rest & (~rest + 1)));
  return out;
}

std::vector<float> random_values(std::size_t n, unsigned seed) {
  std::mt19937 random{seed};
  std::normal_distribution<float> value;
  std::vector<float> out(n);
  for (auto& x : out)
    x = value(random);
  return out;
}

TEST_P(each_target, product_equals_float64) {
  constexpr std::size_t n = 80;
  constexpr std::size_t k = 40;
  for (std::size_t rows = 1; rows <= 13; ++rows) {
    const auto w = random_values(n * k, 1);
    const auto x = random_values(rows * k, 2);
    std::vector<float> y(rows * n);
    multiply(packed_matrix{w, n, k}, x.data(), rows, y.data());
    for (std::size_t i = 0; i < y.size(); ++i) {
      double exact = 0;
      for (std::size_t j = 0; j < k; ++j)
        exact += static_cast<double>(x[i / n * k + j]) * static_cast<double>(w[i % n * k + j]);
      ASSERT_NEAR(y[i], exact, 2e-5);
    }
  }
}

TEST_P(each_target, f16_keeps_all_finite_values) {
  for (std::uint32_t bits = 0; bits < 0x7C00; ++bits) {
    const std::vector<std::uint16_t> half(3, static_cast<std::uint16_t>(bits | 0x8000U));
    std::vector<float> wide(3);
    widen(dtype::f16, half.data(), wide);
    const auto exact = bits < 0x400 ? std::ldexp(static_cast<float>(bits), -24)
                                    : std::ldexp(static_cast<float>((bits & 0x3FFU) | 0x400U),
                                                 static_cast<int>(bits >> 10) - 25);
    ASSERT_EQ(wide[2], -exact) << bits;
    std::vector<std::uint16_t> back(3);
    narrow(dtype::f16, wide, back.data());
    ASSERT_EQ(back, half);
  }
}

TEST_P(each_target, f16_rounds_to_nearest_even_and_overflows_to_infinity) {
  const std::vector<float> x{1 + 0x1p-11F, 1 + 3 * 0x1p-11F, 65519.0F, 65520.0F,
                             0x1p-25F,     3 * 0x1p-25F,     1e9F};
  std::vector<std::uint16_t> out(x.size());
  narrow(dtype::f16, x, out.data());
  EXPECT_EQ(out, (std::vector<std::uint16_t>{0x3C00, 0x3C02, 0x7BFF, 0x7C00, 0, 2, 0x7C00}));
}

TEST_P(each_target, f16_keeps_nan) {
  const float nan = std::nanf("");
  std::uint16_t half = 0;
  narrow(dtype::f16, {&nan, 1}, &half);
  float back = 0;
  widen(dtype::f16, &half, {&back, 1});
  EXPECT_TRUE(std::isnan(back));
}

TEST_P(each_target, attention_of_equal_keys_is_the_mean_of_the_values) {
  constexpr std::size_t dim = 40;
  constexpr std::size_t entries = 150;
  std::vector<kv_block> blocks;
  const std::vector<float> k(dim, 0.25F);
  std::vector<double> mean(dim);
  for (std::size_t i = 0; i < entries; ++i) {
    if (i % kv_block::tokens == 0)
      blocks.emplace_back(dtype::f32, dim);
    const auto v = random_values(dim, static_cast<unsigned>(i));
    blocks.back().put(i % kv_block::tokens, k, v);
    for (std::size_t j = 0; j < dim; ++j)
      mean[j] += static_cast<double>(v[j]) / entries;
  }
  const auto q = random_values(dim, 7);
  std::vector<float> out(dim);
  attend_head({blocks, dim, 1, 1, entries - 1, q.data(), out.data(), dim, nullptr, 0});
  for (std::size_t j = 0; j < dim; ++j)
    EXPECT_NEAR(out[j], mean[j], 1e-5);
}

INSTANTIATE_TEST_SUITE_P(moe_engine, each_target, testing::ValuesIn(targets()),
                         [](const auto& x) { return std::string{hwy::TargetName(x.param)}; });

} // namespace
} // namespace pikv::moe_engine
