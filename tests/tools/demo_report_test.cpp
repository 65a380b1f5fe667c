// SPDX-License-Identifier: Apache-2.0
#include "demo/report.hpp"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace pikv::tools {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

row_outcome outcome(const char* name, double bits) {
  row_outcome x;
  x.name = name;
  x.kv_bytes = 1536;
  x.kv_share = 0.5;
  x.read_share = 0.25;
  x.bits_per_byte = bits;
  x.needle = 0.75;
  x.coverage = 0.9876;
  x.tokens_per_second = 1234;
  x.entries = {100, 25, 10, 50, 14, 1};
  return x;
}

std::vector<std::string> keys_of(const nlohmann::ordered_json& object) {
  std::vector<std::string> out;
  for (const auto& [key, value] : object.items())
    out.push_back(key);
  return out;
}

TEST(demo_report, table_has_one_line_per_row_and_two_of_titles) {
  const std::vector rows{outcome("dense", 1.375), outcome("int8", 1.376)};
  const auto table = demo_table(rows);
  EXPECT_EQ(std::ranges::count(table, '\n'), 4);
}

TEST(demo_report, loss_is_relative_to_the_dense_row) {
  const std::vector rows{outcome("dense", 1.25), outcome("int8", 1.2625)};
  EXPECT_THAT(demo_table(rows), HasSubstr("+1.00%"));
}

TEST(demo_report, loss_is_unknown_without_a_dense_row) {
  const std::vector rows{outcome("int8", 1.2625)};
  EXPECT_THAT(demo_table(rows), Not(HasSubstr("+")));
}

TEST(demo_report, account_that_does_not_add_up_is_shouted) {
  auto row = outcome("int8", 1.25);
  EXPECT_THAT(demo_table(std::vector{row}), Not(HasSubstr("NO")));
  row.entries.read += 1;
  EXPECT_THAT(demo_table(std::vector{row}), HasSubstr("NO"));
}

TEST(demo_report, json_is_a_list_of_rows_with_these_keys) {
  const std::vector rows{outcome("int8", 1.25)};
  const auto list = nlohmann::ordered_json::parse(demo_json(rows));
  ASSERT_TRUE(list.is_array());
  EXPECT_THAT(keys_of(list.at(0)),
              ElementsAre("name", "kv_bytes", "kv_share", "read_share", "bits_per_byte", "needle",
                          "coverage", "tokens_per_second", "entries"));
  EXPECT_THAT(keys_of(list.at(0).at("entries")),
              ElementsAre("existing", "read", "not_routed", "not_selected", "evicted", "lost"));
}

TEST(demo_report, json_keeps_values_as_measured) {
  const std::vector rows{outcome("int8", 1.2345678901)};
  const auto row = nlohmann::json::parse(demo_json(rows)).at(0);
  EXPECT_EQ(row.at("bits_per_byte").get<double>(), 1.2345678901);
  EXPECT_EQ(row.at("entries").at("not_selected").get<std::uint64_t>(), 50U);
}

TEST(demo_report, what_was_not_measured_is_null) {
  auto row = outcome("int8", 1);
  row.needle.reset();
  row.bits_per_byte.reset();
  const auto json = nlohmann::json::parse(demo_json(std::vector{row})).at(0);
  EXPECT_TRUE(json.at("needle").is_null());
  EXPECT_TRUE(json.at("bits_per_byte").is_null());
}

TEST(demo_report, no_rows_are_an_empty_list) { EXPECT_EQ(demo_json({}), "[]\n"); }

TEST(demo_report, counts_keep_four_digits) {
  EXPECT_EQ(count_text(0), "0");
  EXPECT_EQ(count_text(9999), "9999");
  EXPECT_EQ(count_text(10000), "10.00k");
  EXPECT_EQ(count_text(1234567), "1.235M");
  EXPECT_EQ(count_text(999999), "1.000M");
  EXPECT_EQ(count_text(805502976), "805.5M");
}

} // namespace
} // namespace pikv::tools
