// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention on a GPU against float64 on the stored values, for the tests of its kernels.
#pragma once

#include <cmath>
#include <string>

#include <gtest/gtest.h>

#include "gpu/cuda/attend_problem.hpp"

namespace pikv::test {

class cuda_attend : public testing::Test {
protected:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0)
      GTEST_SKIP() << "no CUDA device here";
  }
};

/// Share of the output's norm that may be wrong: rounding of q, of the weights and of the output
/// to 8 bits (bf16) or 11.
inline double tolerance_of(const attend_options& o) {
  bool bf16 = o.rows_type == dtype::bf16 || o.window_form == form::bf16;
  for (const form x : o.forms)
    bf16 |= x == form::bf16;
  return bf16 ? 1.2e-2 : 2e-3;
}

inline void expect_near_log(double got, double want, double tolerance, const char* what) {
  if (std::isinf(want)) {
    EXPECT_EQ(got, want) << what;
  } else {
    EXPECT_NEAR(got, want, tolerance * std::max(1.0, std::abs(want))) << what;
  }
}

inline void expect_row(const attend_problem& p, std::size_t s, std::size_t r, std::size_t h) {
  const auto& seq = p.sequences[s];
  const auto want = test::attend_row(p.args, seq, r, h);
  const double tolerance = tolerance_of(p.options);
  const std::size_t row = seq.row_begin + r;
  double error = 0, norm = 0;
  for (std::size_t c = 0; c < p.dims.head_dim; ++c) {
    error += std::pow(test::tensor_value(p.out.ref, row, h, c) - want.out[c], 2);
    norm += want.out[c] * want.out[c];
  }
  ASSERT_LE(std::sqrt(error), tolerance * std::sqrt(norm)) << "row " << row << " head " << h;
  expect_near_log(p.lse[row * p.dims.query_heads + h], want.lse, tolerance, "lse");
  for (std::size_t i = 0; p.options.page_lse && i < seq.settled.size(); ++i)
    expect_near_log(
        p.page_lse[p.page_lse_offsets[s] + (r * p.dims.query_heads + h) * seq.settled.size() + i],
        want.page_lse[i], tolerance, "page lse");
}

inline void expect_matches_reference(const attend_problem& p) {
  for (std::size_t s = 0; s < p.sequences.size(); ++s)
    for (std::size_t r = 0; r < p.sequences[s].row_count; ++r)
      for (std::size_t h = 0; h < p.dims.query_heads; ++h) {
        expect_row(p, s, r, h);
        if (testing::Test::HasFailure())
          return;
      }
}

inline void check(const attend_options& o, std::uint64_t seed) {
  SCOPED_TRACE("seed " + std::to_string(seed) + " dim " + std::to_string(o.head_dim) + " page "
               + std::to_string(o.page_tokens) + " group " + std::to_string(o.group) + " form "
               + std::string(to_string(o.forms[0])) + " scopes " + std::to_string(o.scopes));
  attend_problem p(o, seed);
  p.run();
  expect_matches_reference(p);
}

} // namespace pikv::test
