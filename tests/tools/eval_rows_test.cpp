// SPDX-License-Identifier: Apache-2.0
#include "eval/rows.hpp"

#include <algorithm>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pikv/config/config.hpp>
#include <pikv/policies/table.hpp>

namespace pikv::tools {
namespace {

using testing::HasSubstr;

constexpr std::array shares{0.5, 0.25, 0.125};

std::vector<eval_row> all_rows() { return eval_rows(policies::catalog(), shares); }

demo_base base_of_tiny_moe() {
  demo_base x;
  x.shape = {6, 8, 4, 32, 16};
  return x;
}

TEST(eval_rows, names_are_unique) {
  std::set<std::string> seen;
  for (const auto& row : all_rows())
    EXPECT_TRUE(seen.insert(row.name).second) << row.name;
}

TEST(eval_rows, every_configuration_is_valid) {
  const auto catalog = policies::catalog();
  for (const auto& row : all_rows()) {
    const auto parsed =
        config::parse(config::to_yaml(settings_of(row, base_of_tiny_moe()), catalog), catalog);
    EXPECT_TRUE(parsed.ok()) << row.name << ": " << (parsed.ok() ? "" : parsed.error().what);
  }
}

TEST(eval_rows, every_policy_of_every_kind_that_can_run_live_is_tried) {
  std::multiset<std::string> tried;
  for (const auto& row : all_rows()) {
    if (row.plain || row.study)
      continue;
    const auto x = settings_of(row, base_of_tiny_moe());
    for (const std::string& name :
         {"placement/" + x.placement.name, "routing/" + x.routing.name,
          "selection/" + x.selection.name, "compression/" + x.compression.name,
          "budget/" + x.budget.name, "scheduling/" + x.scheduling.name})
      tried.insert(name);
  }
  for (const auto& kind : policies::catalog())
    for (const auto& policy : kind.policies)
      EXPECT_EQ(tried.contains(kind.kind + "/" + policy.name), policy.offline.empty())
          << kind.kind << ' ' << policy.name;
}

TEST(eval_rows, a_new_policy_is_measured_without_a_line_here) {
  auto catalog = policies::catalog();
  for (auto& kind : catalog)
    kind.policies.push_back({"brand_new", "as good as it gets", {}});
  const auto rows = eval_rows(catalog, shares);
  for (const auto* name :
       {"brand_new", "brand_new+keep_1_2", "brand_new_1_4", "placed_brand_new_mass_4"})
    EXPECT_NE(std::ranges::find(rows, name, &eval_row::name), rows.end()) << name;
}

TEST(eval_rows, policies_of_one_name_and_several_kinds_are_told_apart) {
  auto catalog = policies::catalog();
  for (auto& kind : catalog)
    kind.policies.push_back({"brand_new", "as good as it gets", {}});
  const auto rows = eval_rows(catalog, shares);
  std::set<std::string> seen;
  for (const auto& row : rows)
    EXPECT_TRUE(seen.insert(row.name).second) << row.name;
  EXPECT_TRUE(seen.contains("brand_new")); // the compression
  EXPECT_TRUE(seen.contains("selection/brand_new"));
  EXPECT_TRUE(seen.contains("routing/brand_new"));
}

TEST(eval_rows, selections_with_a_coverage_target_are_tried_at_targets) {
  policy_info mass{"mass", "", std::vector<option_spec>(2)};
  mass.options[0].name = "share";
  mass.options[1].name = "coverage";
  const policy_catalog catalog{{"selection", "", {mass}}};
  const auto rows = eval_rows(catalog, shares);
  const auto found = std::ranges::find(rows, "mass_cover_0.98", &eval_row::name);
  ASSERT_NE(found, rows.end());
  EXPECT_EQ(settings_of(*found, base_of_tiny_moe()).selection.options.real("coverage"), 0.98);
  EXPECT_NE(std::ranges::find(rows, "mass_1_8", &eval_row::name), rows.end());
  EXPECT_EQ(std::ranges::find(rows, "mass_cover_0.98_least_1_32", &eval_row::name), rows.end());
}

TEST(eval_rows, coverage_targets_are_also_tried_with_a_least_share) {
  const auto rows = all_rows();
  const auto found = std::ranges::find(rows, "mass_cover_0.98_least_1_32", &eval_row::name);
  ASSERT_NE(found, rows.end());
  const auto x = settings_of(*found, base_of_tiny_moe()).selection.options;
  EXPECT_EQ(x.real("coverage"), 0.98);
  EXPECT_EQ(x.real("least"), 0.03125);
}

TEST(eval_rows, evicting_rows_keep_the_asked_shares) {
  const std::array two{0.4, 0.2};
  const auto rows = eval_rows(policies::catalog(), two);
  const auto found = std::ranges::find(rows, "streaming_1_5", &eval_row::name);
  ASSERT_NE(found, rows.end());
  const auto x = settings_of(*found, base_of_tiny_moe());
  EXPECT_EQ(x.scheduling.name, "streaming");
  EXPECT_EQ(x.budget.options.real("share"), 0.2);
}

TEST(pick_rows, takes_names_and_groups_in_order) {
  const std::vector<std::string> names{"int8", "baseline"};
  const auto picked = pick_rows(all_rows(), names);
  ASSERT_TRUE(picked.ok());
  ASSERT_EQ(picked->size(), 3U);
  EXPECT_EQ(picked->at(0).name, "dense");
  EXPECT_EQ(picked->at(1).name, "exact");
  EXPECT_EQ(picked->at(2).name, "int8");
}

TEST(pick_rows, studies_run_only_when_asked_for) {
  const std::vector<std::string> names{"study"};
  const auto unnamed = pick_rows(all_rows(), {}), studies = pick_rows(all_rows(), names);
  for (const auto& row : *unnamed)
    EXPECT_FALSE(row.study) << row.name;
  EXPECT_FALSE(studies->empty());
  for (const auto& row : *studies)
    EXPECT_TRUE(row.study) << row.name;
}

TEST(pick_rows, unknown_names_teach_the_nearest) {
  const std::vector<std::string> names{"int9"};
  const auto picked = pick_rows(all_rows(), names);
  EXPECT_EQ(picked.code(), errc::invalid_argument);
  EXPECT_THAT(picked.error().what, HasSubstr("did you mean \"int"));
}

TEST(share_name, is_a_fraction_where_it_is_one) {
  EXPECT_EQ(share_name(0.5), "1_2");
  EXPECT_EQ(share_name(0.03125), "1_32");
  EXPECT_EQ(share_name(0.3), "0.3");
}

} // namespace
} // namespace pikv::tools
