// SPDX-License-Identifier: Apache-2.0
// Facts of keys against the keys themselves, through the real summary kernel.
#include <pikv/actors/shard_owner/page_keys.hpp>

#include <algorithm>
#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include <pikv/gpu/device.hpp>
#include <pikv/gpu/host/kernels.hpp>
#include <pikv/gpu/host/thread_pool.hpp>

namespace pikv {
namespace {

constexpr gpu::cache_dims dims{4, 2, 32, 16};
constexpr std::uint8_t every_fact = key_fact_norm | key_fact_likeness | key_fact_reach;

/// Keys of one page, `[kv_heads, tokens, head_dim]`.
using keys = std::vector<float>;

keys random_keys(std::mt19937_64& rng, float shift) {
  std::normal_distribution<float> normal(shift, 1);
  keys out(std::size_t{dims.kv_heads} * dims.page_tokens * dims.head_dim);
  for (auto& x : out)
    x = normal(rng);
  return out;
}

float key_at(const keys& x, std::uint32_t head, std::uint32_t token, std::uint32_t c) {
  return x[(std::size_t{head} * dims.page_tokens + token) * dims.head_dim + c];
}

std::vector<std::byte> summary_of(const keys& x, const gpu::summary_layout& layout) {
  const auto at = gpu::layout_of(dims, form::f32);
  std::vector<std::byte> page(at.page_bytes + 64), summary(layout.bytes + 64);
  const auto aligned = [](std::vector<std::byte>& v) {
    return v.data() + (64 - reinterpret_cast<std::uintptr_t>(v.data()) % 64) % 64;
  };
  auto* data = aligned(page);
  for (std::uint32_t h = 0; h < dims.kv_heads; ++h)
    for (std::uint32_t c = 0; c < dims.head_dim; ++c)
      for (std::uint32_t t = 0; t < dims.page_tokens; ++t)
        reinterpret_cast<float*>(data + h * at.head_bytes + at.k_offset)[c * dims.page_tokens + t] =
            key_at(x, h, t, c);
  const gpu::page_view view{data, nullptr, 0, dims.page_tokens, form::f32, gpu::summary_none, {}};
  auto* out = aligned(summary);
  gpu::thread_pool pool(1, std::chrono::microseconds{50}, "test");
  gpu::host_kernels().summarise({dims, layout.parts, {&view, 1}, {&out, 1}}, pool);
  return {out, out + layout.bytes};
}

struct plain_facts {
  double norm = 0, likeness = 0, reach = 0;
};

/// From the keys in double precision; `sums` as facts_of's direction.
plain_facts facts_by_definition(const keys& x, std::vector<double>& sums) {
  plain_facts out;
  double squares = 0;
  sums.resize(std::size_t{dims.kv_heads} * dims.head_dim);
  for (std::uint32_t h = 0; h < dims.kv_heads; ++h) {
    std::vector<double> mean(dims.head_dim);
    double length = 0, corner = 0;
    for (std::uint32_t c = 0; c < dims.head_dim; ++c) {
      double low = 1e9, high = -1e9;
      for (std::uint32_t t = 0; t < dims.page_tokens; ++t) {
        const double k = key_at(x, h, t, c);
        mean[c] += k / dims.page_tokens;
        squares += k * k / dims.page_tokens;
        low = std::min(low, k);
        high = std::max(high, k);
      }
      length += mean[c] * mean[c];
      corner += std::pow(std::max(std::abs(low), std::abs(high)), 2);
    }
    out.reach += std::sqrt(corner) / dims.kv_heads;
    double product = 0, all = 0;
    for (std::uint32_t c = 0; c < dims.head_dim; ++c) {
      auto& sum = sums[std::size_t{h} * dims.head_dim + c];
      const auto unit = mean[c] / std::sqrt(length);
      sum += unit;
      product += unit * sum;
      all += sum * sum;
    }
    out.likeness += product / std::sqrt(all) / dims.kv_heads;
  }
  out.norm = std::sqrt(squares / dims.kv_heads);
  return out;
}

TEST(page_keys, facts_are_those_of_the_keys) {
  std::mt19937_64 rng(1);
  const auto layout = gpu::summary_layout_of(dims, summary_parts_of(every_fact));
  for (int sequence = 0; sequence < 20; ++sequence) {
    std::vector<float> direction;
    std::vector<double> sums;
    for (int page = 0; page < 10; ++page) {
      const auto x = random_keys(rng, 0.3F * static_cast<float>(page % 3));
      const auto want = facts_by_definition(x, sums);
      const auto got = facts_of(summary_of(x, layout).data(), layout, dims, every_fact, direction);
      EXPECT_EQ(got.known, every_fact);
      EXPECT_NEAR(got.norm, want.norm, 2e-3 * want.norm); // f16 means and variances
      EXPECT_NEAR(got.likeness, want.likeness, 2e-3);
      EXPECT_NEAR(got.reach, want.reach, 2e-3 * want.reach);
      EXPECT_GE(got.reach, want.reach * (1 - 1e-6)); // the box is rounded outwards
    }
  }
}

TEST(page_keys, only_what_is_wanted_and_there_is_known) {
  std::mt19937_64 rng(2);
  const auto layout = gpu::summary_layout_of(dims, gpu::summary_min_max);
  std::vector<float> direction;
  const auto x = facts_of(summary_of(random_keys(rng, 0), layout).data(), layout, dims,
                          key_fact_norm | key_fact_reach, direction);
  EXPECT_EQ(x.known, key_fact_reach);
  EXPECT_EQ(x.norm, 0);
  EXPECT_TRUE(direction.empty());
}

TEST(page_keys, what_is_not_finite_is_not_known) {
  const auto layout = gpu::summary_layout_of(dims, summary_parts_of(every_fact));
  std::vector<std::byte> summary(layout.bytes, std::byte{0x7C}); // NaN and infinity in f16
  std::vector<float> direction;
  const auto x = facts_of(summary.data(), layout, dims, every_fact, direction);
  EXPECT_EQ(x.known & (key_fact_norm | key_fact_reach), 0);
  EXPECT_TRUE(std::isfinite(x.norm) && std::isfinite(x.likeness) && std::isfinite(x.reach));
}

TEST(page_keys, asks_for_the_parts_that_facts_come_from) {
  EXPECT_EQ(summary_parts_of(key_fact_none), gpu::summary_none);
  EXPECT_EQ(summary_parts_of(key_fact_norm), gpu::summary_mean_var);
  EXPECT_EQ(summary_parts_of(key_fact_likeness), gpu::summary_mean_var);
  EXPECT_EQ(summary_parts_of(key_fact_reach), gpu::summary_min_max);
}

} // namespace
} // namespace pikv
