// SPDX-License-Identifier: Apache-2.0
// How far attention may be from float64: beside a plain attention in bf16, and over long contexts.
#include <cmath>
#include <string>
#include <vector>

#include "gpu/cuda/attend_checks.hpp"

namespace pikv::test {
namespace {

/// Relative error of a plain attention whose queries, keys, values and weights are bf16.
double plain_bf16_error(const attend_problem& p, std::size_t h) {
  const auto& seq = p.sequences[0];
  const auto want = test::attend_row(p.args, seq, 0, h);
  const auto rounded = [](double x) {
    const std::uint16_t bits = gpu::detail::bf16_from_f32(static_cast<float>(x));
    return test::element(reinterpret_cast<const std::byte*>(&bits), dtype::bf16, 0);
  };
  std::vector<double> out(p.dims.head_dim);
  double sum = 0;
  const std::size_t head = h / p.dims.group();
  for (const auto* list : {&seq.settled.views, &seq.window})
    for (const gpu::page_view& page : *list)
      for (std::size_t t = 0; t < page.tokens; ++t) {
        double logit = 0;
        for (std::size_t c = 0; c < p.dims.head_dim; ++c)
          logit += rounded(test::tensor_value(p.args.q, 0, h, c))
                   * test::stored_k(p.dims, page, head, t, c);
        const double w = std::exp(logit * p.args.scale - want.lse);
        sum += w;
        for (std::size_t c = 0; c < p.dims.head_dim; ++c)
          out[c] += rounded(w) * test::stored_v(p.dims, page, head, t, c);
      }
  double error = 0, norm = 0;
  for (std::size_t c = 0; c < p.dims.head_dim; ++c) {
    error += std::pow(rounded(out[c] / sum) - want.out[c], 2);
    norm += want.out[c] * want.out[c];
  }
  return std::sqrt(error / norm);
}

TEST_F(cuda_attend, bf16_is_within_twice_a_plain_bf16_attention) {
  attend_problem p({.rows_type = dtype::bf16, .sequences = 1, .min_pages = 100, .max_pages = 200},
                   760);
  p.run();
  double mine = 0, plain = 0;
  for (std::size_t h = 0; h < p.dims.query_heads; ++h) {
    const auto want = test::attend_row(p.args, p.sequences[0], 0, h);
    double error = 0, norm = 0;
    for (std::size_t c = 0; c < p.dims.head_dim; ++c) {
      error += std::pow(test::tensor_value(p.out.ref, 0, h, c) - want.out[c], 2);
      norm += want.out[c] * want.out[c];
    }
    mine = std::max(mine, std::sqrt(error / norm));
    plain = std::max(plain, plain_bf16_error(p, h));
  }
  EXPECT_LE(mine, 2 * plain + 0x1p-8);
  RecordProperty("error", std::to_string(mine));
  RecordProperty("plain_error", std::to_string(plain));
}

TEST_F(cuda_attend, fp8_keeps_its_accuracy_over_131072_tokens) {
  attend_problem p({.forms = {form::fp8},
                    .window_form = form::f16,
                    .kv_heads = 1,
                    .group = 1,
                    .page_tokens = 64,
                    .sequences = 1,
                    .min_pages = 2048,
                    .max_pages = 2048},
                   770);
  p.run();
  expect_matches_reference(p);
}

} // namespace
} // namespace pikv::test
