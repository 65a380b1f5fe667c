// SPDX-License-Identifier: Apache-2.0
#include "plan_report.hpp"

#include <gtest/gtest.h>

namespace pikv::tools {
namespace {

constexpr paper_request example{.tokens = 131072,
                                .gpus = 8,
                                .experts = 16,
                                .dim = 1024,
                                .compression = 2,
                                .kept_pages = 64,
                                .page_tokens = 16};

TEST(paper, tokens_per_device_are_l_over_g_plus_l_over_e) {
  EXPECT_DOUBLE_EQ(paper_formulas(example).tokens_per_device, 16384 + 8192);
}

TEST(paper, best_page_of_the_example_is_16_tokens) {
  EXPECT_DOUBLE_EQ(paper_formulas(example).best_page_tokens, 16);
}

TEST(paper, values_follow_the_formula) {
  // (2 * 1024 / 2) * (131072 / (8 * 16) + 64 * 16)
  EXPECT_DOUBLE_EQ(paper_formulas(example).values, 1024.0 * (1024 + 1024));
}

TEST(paper, best_values_are_those_at_the_best_page) {
  auto at_best = example;
  at_best.page_tokens = paper_formulas(example).best_page_tokens;
  EXPECT_DOUBLE_EQ(paper_formulas(example).best_values, paper_formulas(at_best).values);
}

TEST(paper, no_other_page_beats_the_best) {
  const auto best = paper_formulas(example).best_values;
  for (int tokens = 1; tokens <= 512; ++tokens) {
    auto x = example;
    x.page_tokens = tokens;
    EXPECT_GE(paper_formulas(x).values, best * (1 - 1e-12));
  }
}

TEST(paper, compression_is_the_measured_one_scales_included) {
  plan_request x;
  x.model = *find_model("mixtral-8x7b");
  x.context = 4096;
  x.stored = form::int4;
  const auto paper = paper_of(x, 64);
  EXPECT_LT(paper.compression, 4);
  EXPECT_DOUBLE_EQ(paper.compression, 65536.0 / (16384 + 8 * (128 * 4 + 16 * 4 * 4)));
}

TEST(paper, two_d_values_are_one_token_in_one_layer) {
  plan_request x;
  x.model = *find_model("deepseek-v3");
  x.context = 4096;
  EXPECT_DOUBLE_EQ(2 * paper_of(x, 64).dim, 576);
}

} // namespace
} // namespace pikv::tools
