// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <random>
#include <vector>

#include <moe_engine/dense_attention.hpp>

namespace pikv::moe_engine {
namespace {

struct problem {
  std::size_t dim;
  std::size_t group;
  std::uint32_t position;
  std::size_t rows;
  dtype stored = dtype::f32;
  float key_scale = 1;
};

std::vector<float> random_values(std::size_t n, unsigned seed, float scale) {
  std::mt19937 random{seed};
  std::normal_distribution<float> value{0.0F, scale};
  std::vector<float> out(n);
  for (auto& x : out)
    x = value(random);
  return out;
}

/// Largest difference of outputs and lse from float64 softmax attention over unrounded K and V.
std::pair<double, double> worst_errors(const problem& p) {
  const std::size_t entries = p.position + p.rows;
  const auto k = random_values(entries * p.dim, 1, p.key_scale);
  const auto v = random_values(entries * p.dim, 2, 1);
  const auto q = random_values(p.rows * p.group * p.dim, 3, 1);
  std::vector<kv_block> blocks;
  for (std::size_t i = 0; i < entries; ++i) {
    if (i % kv_block::tokens == 0)
      blocks.emplace_back(p.stored, p.dim);
    blocks.back().put(i % kv_block::tokens, std::span{k}.subspan(i * p.dim, p.dim),
                      std::span{v}.subspan(i * p.dim, p.dim));
  }
  std::vector<float> out(q.size(), std::nanf(""));
  std::vector<float> lse(p.rows * p.group, std::nanf(""));
  attend_head({blocks, p.dim, p.rows, p.group, p.position, q.data(), out.data(), p.group * p.dim,
               lse.data(), p.group});

  std::pair<double, double> worst{0, 0};
  for (std::size_t i = 0; i < p.rows * p.group; ++i) {
    const auto readable = p.position + i / p.group + 1;
    std::vector<double> logits(readable);
    for (std::size_t t = 0; t < readable; ++t) {
      double dot = 0;
      for (std::size_t j = 0; j < p.dim; ++j)
        dot += static_cast<double>(q[i * p.dim + j]) * static_cast<double>(k[t * p.dim + j]);
      logits[t] = dot / std::sqrt(static_cast<double>(p.dim));
    }
    const auto top = *std::ranges::max_element(logits);
    double sum = 0;
    std::vector<double> exact(p.dim);
    for (std::size_t t = 0; t < readable; ++t) {
      const auto weight = std::exp(logits[t] - top);
      sum += weight;
      for (std::size_t j = 0; j < p.dim; ++j)
        exact[j] += weight * static_cast<double>(v[t * p.dim + j]);
    }
    const auto keep = [](double& most, double x) { most = x <= most ? most : x; };
    for (std::size_t j = 0; j < p.dim; ++j)
      keep(worst.first, std::abs(exact[j] / sum - static_cast<double>(out[i * p.dim + j])));
    keep(worst.second, std::abs(top + std::log(sum) - static_cast<double>(lse[i])));
  }
  return worst;
}

TEST(dense_attention, equals_float64_for_many_shapes) {
  for (const std::size_t dim : std::initializer_list<std::size_t>{8, 32, 40, 64, 128})
    for (const std::size_t group : std::initializer_list<std::size_t>{1, 2, 7})
      for (const std::uint32_t position : {0U, 1U, 127U, 128U, 300U})
        for (const std::size_t rows : std::initializer_list<std::size_t>{1, 5, 64}) {
          const auto [out, lse] = worst_errors({dim, group, position, rows});
          EXPECT_LT(out, 1e-5) << dim << ' ' << group << ' ' << position << ' ' << rows;
          EXPECT_LT(lse, 2e-5) << dim << ' ' << group << ' ' << position << ' ' << rows;
        }
}

TEST(dense_attention, chunks_longer_than_a_block_stay_causal) {
  const auto [out, lse] = worst_errors({32, 2, 100, 300});
  EXPECT_LT(out, 1e-5);
  EXPECT_LT(lse, 2e-5);
}

TEST(dense_attention, large_logits_stay_finite) {
  const auto [out, lse] = worst_errors({32, 2, 200, 40, dtype::f32, 60});
  EXPECT_LT(out, 2e-3);
  EXPECT_LT(lse, 2e-3);
}

TEST(dense_attention, f16_costs_its_rounding_only) {
  EXPECT_LT(worst_errors({32, 2, 300, 64, dtype::f16}).first, 4e-3);
}

TEST(dense_attention, bf16_costs_its_rounding_only) {
  EXPECT_LT(worst_errors({32, 2, 300, 64, dtype::bf16}).first, 3e-2);
}

} // namespace
} // namespace pikv::moe_engine
