// SPDX-License-Identifier: Apache-2.0
#include "study.hpp"

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "plot.hpp"

#include "tools/replay/traces.hpp"

namespace pikv::tools {
namespace {

using testing::HasSubstr;
using testing::Not;

study studied(bool facts, const study_options& options) {
  std::mt19937_64 rng(11);
  auto x = run_study(random_trace(rng, true, facts), options);
  EXPECT_TRUE(x.ok());
  return std::move(*x);
}

TEST(study, has_a_row_for_each_policy_and_capacity) {
  const auto x = studied(true, {.policies = {}, .capacities = {4, 8}});
  EXPECT_EQ(x.skipped.size(), 1U); // snap
  EXPECT_EQ(x.rows.size(), 2 * (policies::scheduling_table().size() - 1));
}

TEST(study, says_why_a_policy_is_not_replayed) {
  const auto x = studied(false, {.policies = {"h2o", "quest"}, .capacities = {4}});
  ASSERT_EQ(x.skipped.size(), 2U);
  EXPECT_THAT(x.skipped[0].why, HasSubstr("masses"));
  EXPECT_THAT(study_text(x), HasSubstr("not replayed: quest"));
}

TEST(study, the_yardsticks_are_0_and_1_and_need_not_be_asked_for) {
  const auto all = studied(false, {.policies = {}, .capacities = {6}});
  double lru_plus = 0;
  for (const auto& row : all.rows) {
    ASSERT_TRUE(row.gap_closed);
    if (row.policy == "lru") {
      EXPECT_EQ(*row.gap_closed, 0);
    } else if (row.policy == "belady") {
      EXPECT_EQ(*row.gap_closed, 1);
    } else if (row.policy == "lru_plus") {
      lru_plus = *row.gap_closed;
    }
  }
  const auto one = studied(false, {.policies = {"lru_plus"}, .capacities = {6}});
  ASSERT_EQ(one.rows.size(), 1U);
  EXPECT_EQ(*one.rows[0].gap_closed, lru_plus);
}

TEST(study, unknown_policies_are_refused_with_the_nearest_name) {
  std::mt19937_64 rng(11);
  const auto x = run_study(random_trace(rng, true, false), {.policies = {"lru_pluss"}, .capacities = {}});
  ASSERT_FALSE(x.ok());
  EXPECT_EQ(x.code(), errc::unknown_policy);
  EXPECT_THAT(x.error().what, HasSubstr("\"lru_plus\""));
}

TEST(study, csv_and_json_say_the_same) {
  const auto x = studied(false, {.policies = {"lru", "lfu"}, .capacities = {4, 8}});
  const auto json = nlohmann::json::parse(study_json(x));
  ASSERT_EQ(json["rows"].size(), 4U);
  const auto csv = study_csv(x);
  EXPECT_EQ(std::ranges::count(csv, '\n'), 6); // titles, infinite, four rows
  for (const auto& row : json["rows"])
    EXPECT_THAT(csv, HasSubstr(row["policy"].get<std::string>() + ","
                               + std::to_string(row["capacity"].get<int>()) + ","
                               + std::to_string(row["uses"].get<int>()) + ","
                               + std::to_string(row["hits"].get<int>())));
}

TEST(study, the_picture_has_a_line_for_each_policy_and_escapes_names) {
  auto x = studied(false, {.policies = {"lru", "lfu"}, .capacities = {4, 8}});
  x.name = "a<b&c";
  const auto svg = study_svg(x);
  std::size_t lines = 0;
  for (auto at = svg.find("<polyline"); at != svg.npos; at = svg.find("<polyline", at + 1))
    ++lines;
  EXPECT_EQ(lines, 2U);
  EXPECT_THAT(svg, HasSubstr("a&lt;b&amp;c"));
  EXPECT_THAT(svg, Not(HasSubstr("a<b")));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

} // namespace
} // namespace pikv::tools
