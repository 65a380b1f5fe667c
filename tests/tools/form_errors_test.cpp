// SPDX-License-Identifier: Apache-2.0
#include "eval/form_errors.hpp"

#include <map>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tiny_weights.hpp"

namespace pikv::tools {
namespace {

constexpr study_geometry geometry{4, 64, 16};

moe_engine::model paged_model(std::uint32_t head_dim = 32) {
  auto config = moe_engine::small_config();
  config.max_positions = 512;
  config.head_dim = head_dim;
  return *moe_engine::build_model(
      config, *moe_engine::tensor_file::parse(moe_engine::small_weights(config), "weights"));
}

std::vector<std::uint8_t> text() {
  std::vector<std::uint8_t> out(1000);
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<std::uint8_t>('a' + i * i % 26);
  return out;
}

result<std::vector<form_errors>> measured(const moe_engine::model& m,
                                          const form_errors_callback& callback = {}) {
  moe_engine::thread_team team{2};
  return measure_form_errors(m, text(), geometry, {.windows = 2, .context = 400, .rows = 8}, team,
                             callback);
}

TEST(measure_form_errors, fewer_bits_lose_more_of_everything) {
  const auto m = paged_model();
  const auto got = measured(m);
  ASSERT_TRUE(got.ok()) << got.error().what;
  std::map<std::pair<std::uint32_t, form>, form_errors> x;
  for (const auto& y : *got)
    x.emplace(std::pair{y.page_tokens, y.stored}, y);
  ASSERT_EQ(x.size(), 3U * 7); // page sizes, forms that are not raw
  for (const std::uint32_t page : {16U, 32U, 64U}) {
    constexpr form order[] = {form::int8, form::int4, form::int3, form::int2};
    for (std::size_t i = 1; i < 4; ++i) {
      const auto &more = x.at({page, order[i - 1]}), &fewer = x.at({page, order[i]});
      EXPECT_GT(more.k(), 0);
      EXPECT_GT(fewer.k(), more.k());
      EXPECT_GT(fewer.v(), more.v());
      EXPECT_GT(fewer.logit(), more.logit());
      EXPECT_GT(fewer.nats(), more.nats());
      EXPECT_GT(fewer.output(), more.output());
      EXPECT_LT(fewer.bits, more.bits);
    }
    EXPECT_EQ(x.at({page, form::k4v2}).logit(), x.at({page, form::int4}).logit()); // the same K
    EXPECT_EQ(x.at({page, form::k3v2}).v(), x.at({page, form::int2}).v());         // the same V
  }
}

TEST(measure_form_errors, counts_the_logits_of_the_last_rows_over_the_old_pages) {
  const auto m = paged_model();
  const auto shape = m.config.shape();
  const auto got = measured(m);
  ASSERT_TRUE(got.ok()) << got.error().what;
  for (const auto& x : *got) {
    auto g = geometry;
    g.page_tokens = x.page_tokens;
    const double old = g.old_pages(400 - 8) * x.page_tokens;
    EXPECT_EQ(x.sums.logits, 2 * shape.layers * shape.query_heads * 8 * old); // 2 windows
  }
}

TEST(measure_form_errors, ends_when_the_callback_says_so) {
  const auto m = paged_model();
  EXPECT_EQ(measured(m, [](std::uint32_t, std::uint32_t) { return false; }).code(),
            errc::cancelled);
}

TEST(measure_form_errors, refuses_short_texts_and_heads_that_pages_do_not_hold) {
  moe_engine::thread_team team{1};
  const auto x = text();
  EXPECT_EQ(
      measure_form_errors(paged_model(), std::span{x}.first(99), geometry, {}, team, {}).code(),
      errc::invalid_argument);
  EXPECT_EQ(measured(paged_model(16)).code(), errc::invalid_argument);
}

TEST(form_errors_table, has_a_line_for_each) {
  const form_errors x[] = {{form::int4, 16, 5.5, {}}, {form::k3v2, 32, 3.5, {}}};
  const auto table = form_errors_table(x);
  EXPECT_THAT(table, ::testing::HasSubstr("int4"));
  EXPECT_THAT(table, ::testing::ContainsRegex("k3v2 +32 +3.50"));
}

} // namespace
} // namespace pikv::tools
