// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <pikv/gpu/device.hpp>
#include <pikv/gpu/host/fp8.hpp>
#include <pikv/gpu/host/half.hpp>
#include <pikv/gpu/host/kernels.hpp>

#include "support/attention_reference.hpp"
#include "support/page_fixture.hpp"

namespace pikv {
namespace {

using gpu::cache_dims;
using test::page_set;

using gpu::all_forms;
constexpr form integers[] = {form::int8, form::int4, form::int3,
                             form::int2, form::k4v2, form::k3v2};

/// Calls f(head, slot, channel) for every stored value.
template <class F>
void for_values(const cache_dims& dims, std::size_t tokens, F f) {
  for (std::size_t h = 0; h < dims.kv_heads; ++h)
    for (std::size_t t = 0; t < tokens; ++t)
      for (std::size_t c = 0; c < dims.head_dim; ++c)
        f(h, t, c);
}

/// The f16 scale of the group that holds a value.
double k_scale(const cache_dims& dims, const gpu::page_view& page, std::size_t h, std::size_t t,
               std::size_t c) {
  const auto lay = gpu::layout_of(dims, page.stored);
  const std::size_t group = (c * dims.page_tokens + t) / lay.k_group;
  return test::f16_value(
      test::read_at<std::uint16_t>(page.data + h * lay.head_bytes + lay.k_scale_offset, 2 * group));
}

double v_scale(const cache_dims& dims, const gpu::page_view& page, std::size_t h, std::size_t t,
               std::size_t c) {
  const auto lay = gpu::layout_of(dims, page.stored);
  const std::size_t group = (t * dims.head_dim + c) / lay.v_group;
  return test::f16_value(
      test::read_at<std::uint16_t>(page.data + h * lay.head_bytes + lay.v_scale_offset, 2 * group));
}

void copy_of(std::mt19937_64& rng, const cache_dims& dims, form stored, std::size_t tokens,
             page_set& a, page_set& b, float sigma = 1) {
  const auto before = rng;
  a.add(rng, dims, stored, tokens, 0, sigma);
  rng = before;
  b.add(rng, dims, stored, tokens, 0, sigma);
}

TEST(encode_kernel, no_value_is_off_by_more_than_half_a_scale_and_an_eighth_where_v_has_few_bits) {
  std::mt19937_64 rng(1);
  for (const form target : integers)
    for (const std::uint32_t page_tokens : {8U, 16U, 32U, 64U})
      for (const std::size_t tokens :
           {std::size_t{1}, page_tokens / 2 + std::size_t{3}, std::size_t{page_tokens}}) {
        const cache_dims dims{4, 2, 64, page_tokens};
        page_set raw, coded;
        copy_of(rng, dims, form::f32, tokens, raw, coded);
        ASSERT_TRUE(coded.encode(dims, target)[0].representable);
        const double v_bound = traits_of(target).v_bits < 4 ? 0.625 : 0.5; // in scales
        for_values(dims, tokens, [&](std::size_t h, std::size_t t, std::size_t c) {
          const double k = test::stored_k(dims, raw.views[0], h, t, c);
          const double v = test::stored_v(dims, raw.views[0], h, t, c);
          const double tiny = 1e-3 * (tokens == 1 ? std::abs(k) : 1e-3); // flat groups: f16 of min
          ASSERT_LE(std::abs(k - test::stored_k(dims, coded.views[0], h, t, c)),
                    k_scale(dims, coded.views[0], h, t, c) / 2 + tiny);
          ASSERT_LE(std::abs(v - test::stored_v(dims, coded.views[0], h, t, c)),
                    v_scale(dims, coded.views[0], h, t, c) * v_bound + 1e-6);
        });
      }
}

/// Squares of what a page's sum of V over its tokens is off, by (head, channel): as stored, and as
/// it would be with every value at the nearest point of its grid.
std::pair<double, double> errors_of_sums(const cache_dims& dims, std::size_t tokens,
                                         const page_set& raw, const page_set& coded) {
  const auto lay = gpu::layout_of(dims, coded.views[0].stored);
  double stored = 0, nearest = 0;
  for (std::size_t h = 0; h < dims.kv_heads; ++h)
    for (std::size_t c = 0; c < dims.head_dim; ++c) {
      double off = 0, off_nearest = 0;
      for (std::size_t t = 0; t < tokens; ++t) {
        const double v = test::stored_v(dims, raw.views[0], h, t, c);
        const std::size_t group = (t * dims.head_dim + c) / lay.v_group;
        const std::byte* pair = coded.views[0].data + h * lay.head_bytes + lay.v_scale_offset;
        const double scale = test::f16_value(test::read_at<std::uint16_t>(pair, 2 * group));
        const double low = test::f16_value(test::read_at<std::uint16_t>(pair, 2 * group + 1));
        off += v - test::stored_v(dims, coded.views[0], h, t, c);
        off_nearest += v - (low + scale * std::round((v - low) / scale));
      }
      stored += off * off;
      nearest += off_nearest * off_nearest;
    }
  return {stored, nearest};
}

TEST(encode_kernel, v_of_few_bits_hands_its_errors_on_so_that_sums_over_tokens_are_closer) {
  std::mt19937_64 rng(13);
  for (const form target : integers) {
    const cache_dims dims{4, 4, 64, 32};
    page_set raw, coded;
    copy_of(rng, dims, form::f32, 32, raw, coded);
    coded.encode(dims, target);
    const auto [stored, nearest] = errors_of_sums(dims, 32, raw, coded);
    if (traits_of(target).v_bits < 4)
      EXPECT_LT(stored, 0.75 * nearest) << to_string(target);
    else // 4 and 8 bits take the nearest
      EXPECT_NEAR(stored, nearest, 0.01 * nearest) << to_string(target);
  }
}

TEST(encode_kernel, scales_are_the_smallest_that_cover_the_group) {
  std::mt19937_64 rng(2);
  const cache_dims dims{2, 2, 32, 16};
  page_set raw, coded;
  copy_of(rng, dims, form::f32, 16, raw, coded);
  coded.encode(dims, form::int8);
  for (std::size_t c = 0; c < 32; ++c) {
    double low = 1e9, high = -1e9;
    for (std::size_t t = 0; t < 16; ++t) {
      low = std::min(low, test::stored_k(dims, raw.views[0], 0, t, c));
      high = std::max(high, test::stored_k(dims, raw.views[0], 0, t, c));
    }
    EXPECT_NEAR(k_scale(dims, coded.views[0], 0, 0, c), (high - low) / 255,
                (high - low) / 1e5 + 1e-5);
  }
}

TEST(encode_kernel, equal_values_store_scale_zero_and_come_back) {
  const cache_dims dims{1, 1, 32, 8};
  page_set pages;
  std::mt19937_64 rng(3);
  pages.add(rng, dims, form::f32, 8, 0, 0);
  const auto lay = gpu::layout_of(dims, form::f32);
  for (std::size_t i = 0; i < 2 * 32 * 8; ++i)
    test::put(pages.memory[0].data() + lay.k_offset, dtype::f32, i, 1.5F);
  ASSERT_TRUE(pages.encode(dims, form::int4)[0].representable);
  for_values(dims, 8, [&](std::size_t h, std::size_t t, std::size_t c) {
    ASSERT_EQ(k_scale(dims, pages.views[0], h, t, c), 0);
    ASSERT_EQ(test::stored_k(dims, pages.views[0], h, t, c), 1.5);
  });
}

TEST(encode_kernel, fp8_takes_the_nearest_value_under_the_scale_of_the_largest) {
  std::mt19937_64 rng(10);
  for (const std::uint32_t page_tokens : {8U, 16U, 32U, 64U})
    for (const std::size_t tokens : {std::size_t{1}, std::size_t{page_tokens} - 3}) {
      const cache_dims dims{4, 2, 64, page_tokens};
      page_set raw, coded;
      copy_of(rng, dims, form::bf16, tokens, raw, coded);
      ASSERT_TRUE(coded.encode(dims, form::fp8)[0].representable);
      const auto lay = gpu::layout_of(dims, form::fp8);
      for (std::size_t h = 0; h < 2; ++h) {
        double k_top = 0, v_top = 0;
        for (std::size_t i = 0; i < tokens * 64; ++i) {
          k_top = std::max(k_top, std::abs(test::stored_k(dims, raw.views[0], h, i / 64, i % 64)));
          v_top = std::max(v_top, std::abs(test::stored_v(dims, raw.views[0], h, i / 64, i % 64)));
        }
        const std::byte* head = coded.views[0].data + h * lay.head_bytes;
        const double k_step = test::read_at<float>(head + lay.k_scale_offset, 0);
        const double v_step = test::read_at<float>(head + lay.v_scale_offset, 0);
        EXPECT_NEAR(k_step, k_top / 448, 1e-6 * k_step);
        EXPECT_NEAR(v_step, v_top / 448, 1e-6 * v_step);
        for (std::size_t i = 0; i < tokens * 64; ++i) {
          const double k = test::stored_k(dims, raw.views[0], h, i / 64, i % 64);
          const double v = test::stored_v(dims, raw.views[0], h, i / 64, i % 64);
          // Three bits of fraction: half of 1/8, or half of the smallest step 2^-9.
          ASSERT_LE(std::abs(k - test::stored_k(dims, coded.views[0], h, i / 64, i % 64)),
                    std::max(std::abs(k) / 16, k_step / 1024) * 1.00001);
          ASSERT_LE(std::abs(v - test::stored_v(dims, coded.views[0], h, i / 64, i % 64)),
                    std::max(std::abs(v) / 16, v_step / 1024) * 1.00001);
        }
      }
    }
}

TEST(encode_kernel, fp8_of_zeros_has_scale_one) {
  const cache_dims dims{1, 1, 32, 8};
  page_set pages;
  std::mt19937_64 rng(11);
  pages.add(rng, dims, form::f16, 5, 0, 0);
  ASSERT_TRUE(pages.encode(dims, form::fp8)[0].representable);
  const auto lay = gpu::layout_of(dims, form::fp8);
  EXPECT_EQ(test::read_at<float>(pages.views[0].data + lay.k_scale_offset, 0), 1.0F);
  EXPECT_EQ(test::read_at<float>(pages.views[0].data + lay.v_scale_offset, 0), 1.0F);
  EXPECT_EQ(test::stored_k(dims, pages.views[0], 0, 4, 31), 0);
}

TEST(encode_kernel, fp8_refuses_what_is_not_finite) {
  for (const float bad : {INFINITY, -INFINITY, NAN})
    for (const bool in_k : {true, false}) {
      std::mt19937_64 rng(12);
      const cache_dims dims{1, 1, 32, 16};
      page_set pages;
      pages.add(rng, dims, form::f32, 16, 0);
      const auto lay = gpu::layout_of(dims, form::f32);
      test::put(pages.memory[0].data() + (in_k ? lay.k_offset : lay.v_offset), dtype::f32, 37, bad);
      EXPECT_FALSE(pages.encode(dims, form::fp8)[0].representable) << bad;
    }
}

TEST(encode_kernel, reports_the_errors_that_it_makes) {
  std::mt19937_64 rng(4);
  for (const form target : all_forms) {
    if (is_raw(target))
      continue;
    const cache_dims dims{4, 2, 64, 32};
    page_set raw, coded;
    copy_of(rng, dims, form::f16, 21, raw, coded);
    const auto got = coded.encode(dims, target)[0];
    double k_error = 0, k_norm = 0, v_error = 0, v_norm = 0;
    for_values(dims, 21, [&](std::size_t h, std::size_t t, std::size_t c) {
      const double k = test::stored_k(dims, raw.views[0], h, t, c);
      const double v = test::stored_v(dims, raw.views[0], h, t, c);
      k_norm += k * k;
      v_norm += v * v;
      k_error += std::pow(k - test::stored_k(dims, coded.views[0], h, t, c), 2);
      v_error += std::pow(v - test::stored_v(dims, coded.views[0], h, t, c), 2);
    });
    EXPECT_NEAR(got.k_norm, k_norm, 1e-4 * k_norm);
    EXPECT_NEAR(got.v_norm, v_norm, 1e-4 * v_norm);
    EXPECT_NEAR(got.k_error, k_error, 1e-3 * k_error);
    EXPECT_NEAR(got.v_error, v_error, 1e-3 * v_error);
  }
}

TEST(encode_kernel, values_that_do_not_fit_are_not_representable) {
  for (const form target : integers)
    for (const float bad : {1e8F, -1e6F, INFINITY, -INFINITY, NAN})
      for (const bool in_k : {true, false}) {
        std::mt19937_64 rng(5);
        const cache_dims dims{1, 1, 32, 16};
        page_set pages;
        pages.add(rng, dims, form::f32, 16, 0);
        const auto lay = gpu::layout_of(dims, form::f32);
        test::put(pages.memory[0].data() + (in_k ? lay.k_offset : lay.v_offset), dtype::f32, 37,
                  bad);
        EXPECT_FALSE(pages.encode(dims, target)[0].representable) << to_string(target) << bad;
      }
}

TEST(encode_kernel, slots_beyond_the_tokens_do_not_matter) {
  std::mt19937_64 rng(6); // the fixture fills them with NaN
  const cache_dims dims{1, 1, 32, 64};
  page_set pages;
  pages.add(rng, dims, form::bf16, 33, 0);
  EXPECT_TRUE(pages.encode(dims, form::int8)[0].representable);
}

TEST(decode_kernel, gives_the_stored_values_in_any_raw_form) {
  std::mt19937_64 rng(7);
  gpu::serial_executor exec;
  for (const form stored : all_forms)
    for (const form target : {form::f32, form::f16, form::bf16})
      for (const std::uint32_t page_tokens : {8U, 16U, 64U}) {
        const cache_dims dims{2, 2, 96, page_tokens};
        page_set pages;
        pages.add(rng, dims, is_raw(stored) ? stored : form::f32, page_tokens - 3, 0);
        if (!is_raw(stored))
          pages.encode(dims, stored);
        test::aligned_bytes memory(gpu::layout_of(dims, target).page_bytes);
        std::byte* const out[] = {memory.data()};
        gpu::host_kernels().decode({dims, target, pages.views, out}, exec);
        gpu::page_view view = pages.views[0];
        view.data = memory.data();
        view.stored = target;
        const double relative = target == form::f32 ? 1e-6 : target == form::f16 ? 5e-4 : 4e-3;
        for_values(dims, view.tokens, [&](std::size_t h, std::size_t t, std::size_t c) {
          const double k = test::stored_k(dims, pages.views[0], h, t, c);
          const double v = test::stored_v(dims, pages.views[0], h, t, c);
          ASSERT_NEAR(test::stored_k(dims, view, h, t, c), k, relative * std::abs(k) + 1e-6);
          ASSERT_NEAR(test::stored_v(dims, view, h, t, c), v, relative * std::abs(v) + 1e-6);
        });
      }
}

TEST(decode_kernel, every_instruction_set_rounds_alike) {
  const cache_dims dims{1, 1, 32, 16};
  gpu::serial_executor exec;
  for (const form target : {form::f16, form::bf16}) {
    page_set pages;
    std::mt19937_64 rng(8);
    pages.add(rng, dims, form::f32, 16, 0);
    const auto lay = gpu::layout_of(dims, form::f32);
    auto* k = reinterpret_cast<float*>(pages.memory[0].data() + lay.k_offset);
    for (std::size_t i = 0; i < 512; ++i) // from subnormal to overflowing f16
      k[i] = std::ldexp(k[i], static_cast<int>(i % 48) - 30);
    const std::int64_t supported = hwy::SupportedTargets();
    for (std::int64_t left = supported; left != 0; left &= left - 1) {
      hwy::SetSupportedTargetsForTest(left & -left);
      test::aligned_bytes memory(gpu::layout_of(dims, target).page_bytes);
      std::byte* const out[] = {memory.data()};
      gpu::host_kernels().decode({dims, target, pages.views, out}, exec);
      for (std::size_t i = 0; i < 512; ++i)
        ASSERT_EQ(test::read_at<std::uint16_t>(memory.data(), i),
                  target == form::f16 ? gpu::detail::f16_from_f32(k[i])
                                      : gpu::detail::bf16_from_f32(k[i]))
            << gpu::host_simd_target() << " " << k[i];
    }
    hwy::SetSupportedTargetsForTest(0);
  }
}

TEST(fp8, every_pattern_has_its_value_and_comes_back) {
  for (unsigned i = 0; i < 256; ++i) {
    const auto bits = static_cast<std::uint8_t>(i);
    const double value = test::e4m3_value(bits);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(gpu::detail::e4m3_values[i]));
      continue;
    }
    EXPECT_EQ(static_cast<double>(gpu::detail::e4m3_values[i]), value);
    EXPECT_EQ(gpu::detail::e4m3_from_f32(static_cast<float>(value)), bits);
  }
}

TEST(fp8, rounds_to_nearest_with_ties_to_even_and_saturates) {
  for (std::uint8_t low = 0; low < 0x7E; ++low) {
    const auto x = static_cast<float>(test::e4m3_value(low));
    const auto y = static_cast<float>(test::e4m3_value(static_cast<std::uint8_t>(low + 1)));
    const float middle = (x + y) / 2;
    const int even = low % 2 == 0 ? low : low + 1;
    EXPECT_EQ(gpu::detail::e4m3_from_f32(middle), even);
    EXPECT_EQ(gpu::detail::e4m3_from_f32(std::nextafter(middle, x)), low);
    EXPECT_EQ(gpu::detail::e4m3_from_f32(std::nextafter(middle, y)), low + 1);
    EXPECT_EQ(gpu::detail::e4m3_from_f32(-middle), even | 0x80);
  }
  EXPECT_EQ(gpu::detail::e4m3_from_f32(1e9F), 0x7E);
  EXPECT_EQ(gpu::detail::e4m3_from_f32(-INFINITY), 0xFE);
}

TEST(half, f16_survives_a_round_trip_of_all_patterns) {
  for (std::uint32_t h = 0; h < 0x10000; ++h) {
    const auto bits = static_cast<std::uint16_t>(h);
    const double value = test::f16_value(bits);
    if (std::isnan(value))
      continue;
    ASSERT_EQ(static_cast<double>(gpu::detail::f32_from_f16(bits)), value);
    ASSERT_EQ(gpu::detail::f16_from_f32(static_cast<float>(value)), bits);
  }
}

TEST(half, f16_bounds_enclose_the_value_tightly) {
  std::mt19937_64 rng(9);
  std::normal_distribution<float> normal;
  for (int i = 0; i < 20000; ++i) {
    const float x = std::ldexp(normal(rng), i % 40 - 28);
    const auto low = gpu::detail::f16_below(x);
    const auto high = gpu::detail::f16_above(x);
    if (std::abs(x) < 65504) {
      ASSERT_LE(test::f16_value(low), static_cast<double>(x));
      ASSERT_GE(test::f16_value(high), static_cast<double>(x));
      ASSERT_LE(test::f16_value(high) - test::f16_value(low), 1e-3 * std::abs(x) + 1e-7);
    }
  }
}

} // namespace
} // namespace pikv
