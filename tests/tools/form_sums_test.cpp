// SPDX-License-Identifier: Apache-2.0
#include "eval/form_sums.hpp"

#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <pikv/gpu/device.hpp>

#include "support/attention_reference.hpp"
#include "support/page_fixture.hpp"

namespace pikv::tools {
namespace {

constexpr gpu::cache_dims dims{4, 2, 32, 16};
constexpr std::size_t pages = 3, tokens = pages * 16, rows = 5;

struct values {
  std::vector<float> k, v, q;

  explicit values(unsigned seed) {
    std::mt19937 random{seed};
    std::normal_distribution<float> value;
    for (auto* x : {&k, &v}) {
      x->resize(tokens * dims.kv_heads * dims.head_dim);
      for (float& y : *x)
        y = value(random);
    }
    q.resize(rows * dims.query_heads * dims.head_dim);
    for (float& y : q)
      y = value(random);
  }
  form_input input() const { return {k, v, q}; }
  std::size_t at(std::size_t token, std::size_t head, std::size_t c) const {
    return (token * dims.kv_heads + head) * dims.head_dim + c;
  }
};

/// The values as pages of a form, read back by its description alone.
struct as_pages {
  test::page_set coded;

  as_pages(const values& x, form stored) {
    std::mt19937_64 rng;
    const auto lay = gpu::layout_of(dims, form::f32);
    for (std::size_t p = 0; p < pages; ++p) {
      coded.add(rng, dims, form::f32, 16, 0);
      for (std::size_t h = 0; h < dims.kv_heads; ++h)
        for (std::size_t t = 0; t < 16; ++t)
          for (std::size_t c = 0; c < dims.head_dim; ++c) {
            std::byte* head = coded.memory[p].data() + h * lay.head_bytes;
            test::put(head + lay.k_offset, dtype::f32, c * 16 + t, x.k[x.at(p * 16 + t, h, c)]);
            test::put(head + lay.v_offset, dtype::f32, t * dims.head_dim + c,
                      x.v[x.at(p * 16 + t, h, c)]);
          }
    }
    coded.encode(dims, stored);
  }
  double k(std::size_t t, std::size_t head, std::size_t c) const {
    return test::stored_k(dims, coded.views[t / 16], head, t % 16, c);
  }
  double v(std::size_t t, std::size_t head, std::size_t c) const {
    return test::stored_v(dims, coded.views[t / 16], head, t % 16, c);
  }
};

/// Logits of (row, query head) without their mean, and what they make of V, in float64.
struct read {
  std::vector<double> logits, out;

  template <class K, class V>
  read(const values& x, std::size_t row, std::size_t head, K k, V v)
      : logits(tokens), out(dims.head_dim) {
    double mean = 0, total = 0;
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t c = 0; c < dims.head_dim; ++c)
        logits[t] += static_cast<double>(x.q[(row * dims.query_heads + head) * dims.head_dim + c])
                     * k(t, head / 2, c) / std::sqrt(32.0);
      mean += logits[t] / tokens;
      total += std::exp(logits[t]);
    }
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t c = 0; c < dims.head_dim; ++c)
        out[c] += std::exp(logits[t]) / total * v(t, head / 2, c);
      logits[t] -= mean;
    }
  }
};

form_sums reference(const values& x, form stored) {
  const as_pages y(x, stored);
  const auto k = [&](std::size_t t, std::size_t h, std::size_t c) -> double {
    return static_cast<double>(x.k[x.at(t, h, c)]);
  };
  const auto v = [&](std::size_t t, std::size_t h, std::size_t c) -> double {
    return static_cast<double>(x.v[x.at(t, h, c)]);
  };
  form_sums out;
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t h = 0; h < dims.kv_heads; ++h)
      for (std::size_t c = 0; c < dims.head_dim; ++c) {
        out.k_error += std::pow(k(t, h, c) - y.k(t, h, c), 2);
        out.v_error += std::pow(v(t, h, c) - y.v(t, h, c), 2);
      }
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t head = 0; head < dims.query_heads; ++head) {
      const read a(x, row, head, k, v);
      const read b(
          x, row, head, [&](auto... i) { return y.k(i...); }, [&](auto... i) { return y.v(i...); });
      for (std::size_t t = 0; t < tokens; ++t) {
        out.logit_error += std::pow(a.logits[t] - b.logits[t], 2);
        out.logit_norm += a.logits[t] * a.logits[t];
      }
      for (std::size_t c = 0; c < dims.head_dim; ++c) {
        out.out_error += std::pow(a.out[c] - b.out[c], 2);
        out.out_norm += a.out[c] * a.out[c];
      }
    }
  return out;
}

TEST(form_sums, are_those_of_float64_for_every_form) {
  const values x(1);
  for (const form stored : gpu::all_forms) {
    if (is_raw(stored))
      continue;
    const auto got = compare_form(dims, stored, x.input());
    const auto want = reference(x, stored);
    EXPECT_NEAR(got.k_error, want.k_error, 1e-3 * want.k_error) << to_string(stored);
    EXPECT_NEAR(got.v_error, want.v_error, 1e-3 * want.v_error) << to_string(stored);
    EXPECT_NEAR(got.logit_error, want.logit_error, 1e-3 * want.logit_error) << to_string(stored);
    EXPECT_NEAR(got.logit_norm, want.logit_norm, 1e-4 * want.logit_norm) << to_string(stored);
    EXPECT_NEAR(got.out_error, want.out_error, 1e-3 * want.out_error) << to_string(stored);
    EXPECT_NEAR(got.out_norm, want.out_norm, 1e-4 * want.out_norm) << to_string(stored);
    EXPECT_EQ(got.logits, rows * dims.query_heads * tokens);
    EXPECT_EQ(got.raw_pages, 0U);
  }
}

TEST(form_sums, a_shift_of_all_logits_is_no_error) {
  values x(2); // keys alike over the tokens: no form changes differences between logits
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t h = 0; h < dims.kv_heads; ++h)
      for (std::size_t c = 0; c < dims.head_dim; ++c)
        x.k[x.at(t, h, c)] = 0.3F * static_cast<float>(c + 1);
  const auto got = compare_form(dims, form::int2, x.input());
  EXPECT_GT(got.k_error, 0); // 0.3 is not an f16
  EXPECT_LT(got.logit_error, 1e-9);
}

TEST(form_sums, a_page_that_does_not_fit_stays_raw) {
  values x(3);
  x.k[7] = 1e9F;
  const auto got = compare_form(dims, form::int8, x.input());
  EXPECT_EQ(got.raw_pages, 1U);
  const auto fits = compare_form(dims, form::int8, values(3).input());
  EXPECT_LT(got.v_error, fits.v_error);
  EXPECT_GT(got.v_error, 0);
}

TEST(form_sums, add_up) {
  const auto a = compare_form(dims, form::int4, values(4).input());
  const auto b = compare_form(dims, form::int4, values(5).input());
  auto sum = a;
  sum += b;
  EXPECT_DOUBLE_EQ(sum.k_error, a.k_error + b.k_error);
  EXPECT_DOUBLE_EQ(sum.v_norm, a.v_norm + b.v_norm);
  EXPECT_DOUBLE_EQ(sum.logit_error, a.logit_error + b.logit_error);
  EXPECT_DOUBLE_EQ(sum.out_norm, a.out_norm + b.out_norm);
  EXPECT_DOUBLE_EQ(sum.logits, a.logits + b.logits);
}

} // namespace
} // namespace pikv::tools
