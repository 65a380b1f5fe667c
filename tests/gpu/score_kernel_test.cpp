// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <pikv/gpu/device.hpp>
#include <pikv/gpu/host/kernels.hpp>

#include "support/attention_reference.hpp"
#include "support/page_fixture.hpp"

namespace pikv {
namespace {

using gpu::cache_dims;
using gpu::score_kind;
using test::page_set;

constexpr std::uint8_t both_parts = gpu::summary_mean_var | gpu::summary_min_max;

struct scored {
  cache_dims dims;
  page_set pages;
  test::tensor q;
  std::vector<float> scores;
  std::size_t rows = 0;
  float scale = 1;

  double at(std::size_t row, std::size_t head, std::size_t page) const {
    return scores[(row * dims.query_heads + head) * pages.views.size() + page];
  }
};

scored score_random_pages(std::uint64_t seed, score_kind kind, cache_dims dims, std::size_t pages,
                          std::size_t rows, form stored = form::f16) {
  std::mt19937_64 rng(seed);
  scored x{dims, {},   test::empty_tensor(dtype::f32, 0, 0, 0),
           {},   rows, 1 / std::sqrt(static_cast<float>(dims.head_dim))};
  for (std::size_t i = 0; i < pages; ++i)
    x.pages.add(rng, dims, is_raw(stored) ? stored : form::f16,
                i % 3 == 0 ? 1 + i % dims.page_tokens : dims.page_tokens, i * dims.page_tokens);
  if (!is_raw(stored))
    x.pages.encode(dims, stored);
  x.pages.summarise(dims, both_parts);
  if (pages > 4)
    x.pages.views[3].data = nullptr;
  x.q = test::random_tensor(rng, dtype::f32, rows, dims.query_heads, dims.head_dim);
  x.scores.assign(rows * dims.query_heads * pages, NAN);
  gpu::sequence_rows seq;
  seq.settled = x.pages.views;
  seq.row_count = static_cast<std::uint32_t>(rows);
  const std::uint64_t offsets[] = {0};
  gpu::serial_executor exec;
  gpu::host_kernels().score({dims, kind, x.scale, x.q.ref, {&seq, 1}, x.scores.data(), offsets},
                            exec);
  return x;
}

double summary_value(const scored& x, std::size_t page, std::size_t head, std::size_t offset,
                     std::size_t c) {
  const auto lay = gpu::summary_layout_of(x.dims, both_parts);
  return test::f16_value(test::read_at<std::uint16_t>(
      x.pages.views[page].summary + head * lay.head_bytes + offset, c));
}

/// Calls f(row, query head, page) for all scored triples whose page is there.
template <class F>
void for_scores(const scored& x, F f) {
  for (std::size_t r = 0; r < x.rows; ++r)
    for (std::size_t h = 0; h < x.dims.query_heads; ++h)
      for (std::size_t p = 0; p < x.pages.views.size(); ++p)
        if (x.pages.views[p].data != nullptr)
          f(r, h, p);
}

TEST(score_kernel, mass_is_the_second_order_estimate_from_the_summary) {
  for (const std::uint32_t dim : {32U, 128U, 224U})
    for (const std::size_t rows : {std::size_t{1}, std::size_t{7}}) {
      const auto x = score_random_pages(dim, score_kind::mass, {6, 2, dim, 16}, 70, rows);
      const auto lay = gpu::summary_layout_of(x.dims, both_parts);
      for_scores(x, [&](std::size_t r, std::size_t h, std::size_t p) {
        double want = std::log(static_cast<double>(x.pages.views[p].tokens));
        for (std::size_t c = 0; c < dim; ++c) {
          const double q = test::tensor_value(x.q.ref, r, h, c) * static_cast<double>(x.scale);
          want += q * summary_value(x, p, h / 3, lay.mean_offset, c)
                  + q * q / 2 * summary_value(x, p, h / 3, lay.var_offset, c);
        }
        ASSERT_NEAR(x.at(r, h, p), want, 1e-5 * std::max(1.0, std::abs(want)));
      });
    }
}

TEST(score_kernel, quest_bounds_every_logit_of_the_page) {
  for (const form stored : gpu::all_forms) {
    const auto x = score_random_pages(11, score_kind::quest, {4, 2, 64, 16}, 9, 3, stored);
    for_scores(x, [&](std::size_t r, std::size_t h, std::size_t p) {
      for (std::size_t t = 0; t < x.pages.views[p].tokens; ++t) {
        double logit = 0;
        for (std::size_t c = 0; c < 64; ++c)
          logit += test::tensor_value(x.q.ref, r, h, c)
                   * test::stored_k(x.dims, x.pages.views[p], h / 2, t, c);
        ASSERT_GE(x.at(r, h, p) + 1e-5, logit * static_cast<double>(x.scale));
      }
    });
  }
}

TEST(score_kernel, quest_is_the_bound_from_the_summary) {
  const auto x = score_random_pages(12, score_kind::quest, {2, 2, 96, 8}, 65, 2);
  const auto lay = gpu::summary_layout_of(x.dims, both_parts);
  for_scores(x, [&](std::size_t r, std::size_t h, std::size_t p) {
    double want = 0;
    for (std::size_t c = 0; c < 96; ++c) {
      const double q = test::tensor_value(x.q.ref, r, h, c) * static_cast<double>(x.scale);
      want += std::max(q * summary_value(x, p, h, lay.min_offset, c),
                       q * summary_value(x, p, h, lay.max_offset, c));
    }
    ASSERT_NEAR(x.at(r, h, p), want, 1e-5 * std::max(1.0, std::abs(want)));
  });
}

TEST(score_kernel, pages_that_are_gone_score_minus_infinity) {
  const auto x = score_random_pages(13, score_kind::mass, {2, 1, 32, 16}, 6, 2);
  for (std::size_t r = 0; r < 2; ++r)
    EXPECT_EQ(x.at(r, 0, 3), -INFINITY);
}

TEST(summarise_kernel, moments_and_range_match_float64) {
  for (const form stored : gpu::all_forms)
    for (const std::uint32_t page_tokens : {8U, 16U, 64U}) {
      const auto x =
          score_random_pages(14, score_kind::mass, {2, 2, 32, page_tokens}, 4, 1, stored);
      const auto lay = gpu::summary_layout_of(x.dims, both_parts);
      for (std::size_t p = 0; p < 4; ++p)
        for (std::size_t h = 0; h < 2; ++h)
          for (std::size_t c = 0; c < 32; ++c) {
            const auto& page = x.pages.views[p];
            double mean = 0, variance = 0, low = 1e9, high = -1e9;
            for (std::size_t t = 0; t < page.tokens; ++t) {
              const double k = test::stored_k(x.dims, page, h, t, c);
              mean += k / page.tokens;
              low = std::min(low, k);
              high = std::max(high, k);
            }
            for (std::size_t t = 0; t < page.tokens; ++t)
              variance += std::pow(test::stored_k(x.dims, page, h, t, c) - mean, 2) / page.tokens;
            const auto got = [&](std::size_t offset) { return summary_value(x, p, h, offset, c); };
            ASSERT_NEAR(got(lay.mean_offset), mean, 1e-3 * std::abs(mean) + 1e-6);
            ASSERT_NEAR(got(lay.var_offset), variance, 1e-3 * variance + 1e-6);
            ASSERT_LE(got(lay.min_offset), low + 1e-7 * std::abs(low));
            ASSERT_GE(got(lay.max_offset), high - 1e-7 * std::abs(high));
            ASSERT_NEAR(got(lay.min_offset), low, 1.1e-3 * std::abs(low) + 1e-6);
            ASSERT_NEAR(got(lay.max_offset), high, 1.1e-3 * std::abs(high) + 1e-6);
          }
    }
}

TEST(summarise_kernel, values_beyond_f16_are_clamped_to_finite) {
  std::mt19937_64 rng(15);
  const cache_dims dims{1, 1, 32, 8};
  page_set pages;
  pages.add(rng, dims, form::f32, 8, 0, 1e6F);
  pages.summarise(dims, both_parts);
  const auto lay = gpu::summary_layout_of(dims, both_parts);
  for (std::size_t i = 0; i < lay.bytes / 2; ++i)
    ASSERT_TRUE(
        std::isfinite(test::f16_value(test::read_at<std::uint16_t>(pages.views[0].summary, i))));
}

} // namespace
} // namespace pikv
