// SPDX-License-Identifier: Apache-2.0
#include "run_command.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace pikv::tools {
namespace {

using testing::HasSubstr;

/// One run of two rows over one short window, shared by the tests.
class demo_run : public testing::Test {
protected:
  static void SetUpTestSuite() {
    const auto json = std::filesystem::temp_directory_path()
                      / ("pikv_demo_test_" + std::to_string(getpid()) + ".json");
    ran = run_pikv("demo --only dense,mass_per_head_1_4 --windows 1 --needles 1 --context 512 "
                   "--port 0 --json "
                   + json.string());
    std::ifstream file{json};
    if (file)
      rows = nlohmann::json::parse(file, nullptr, false);
    std::filesystem::remove(json);
  }
  void SetUp() override { ASSERT_EQ(ran.code, 0) << ran.err; }

  static inline command_outcome ran;
  static inline nlohmann::json rows;
};

TEST_F(demo_run, prints_one_line_per_row) {
  EXPECT_THAT(ran.out, HasSubstr("\ndense "));
  EXPECT_THAT(ran.out, HasSubstr("\nmass_per_head_1_4 "));
}

TEST_F(demo_run, says_where_its_metrics_are) {
  EXPECT_THAT(ran.err, HasSubstr("metrics: http://127.0.0.1:"));
}

TEST_F(demo_run, json_has_the_rows_in_order) {
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].at("name"), "dense");
  EXPECT_EQ(rows[1].at("name"), "mass_per_head_1_4");
}

TEST_F(demo_run, dense_reads_all_and_is_its_own_yardstick) {
  EXPECT_EQ(rows.at(0).at("read_share").get<double>(), 1);
  EXPECT_EQ(rows.at(0).at("kv_share").get<double>(), 1);
}

TEST_F(demo_run, selecting_row_reads_less_and_accounts_for_it) {
  const auto& entries = rows.at(1).at("entries");
  const auto count = [&](const char* key) { return entries.at(key).get<std::uint64_t>(); };
  EXPECT_GT(count("not_selected"), 0U);
  EXPECT_EQ(count("existing"), count("read") + count("not_routed") + count("not_selected")
                                   + count("evicted") + count("lost"));
}

TEST(pikv_demo, help_has_an_example_and_the_search_order) {
  const auto x = run_pikv("demo --help");
  EXPECT_EQ(x.code, 0);
  EXPECT_THAT(x.out, HasSubstr("  pikv demo --only"));
  EXPECT_THAT(x.out, HasSubstr("../share/pikv/tiny_moe"));
}

TEST(pikv_demo, list_names_the_rows_without_running) {
  const auto x = run_pikv("demo --list");
  EXPECT_EQ(x.code, 0);
  EXPECT_THAT(x.out, HasSubstr("streaming_1_4"));
}

TEST(pikv_demo, unknown_row_fails) {
  const auto x = run_pikv("demo --only int5");
  EXPECT_EQ(x.code, 1);
  EXPECT_THAT(x.err, HasSubstr("int5"));
}

TEST(pikv_demo, missing_model_fails_and_teaches) {
  const auto x = run_pikv("demo --model /nonexistent");
  EXPECT_EQ(x.code, 1);
  EXPECT_THAT(x.err, HasSubstr("config.json"));
}

TEST(pikv_demo, unknown_backend_fails_with_a_typed_error) {
  const auto x = run_pikv("demo --only exact --backend abacus --windows 1 --needles 0 --port 0");
  EXPECT_EQ(x.code, 1);
  EXPECT_THAT(x.err, HasSubstr("abacus"));
}

TEST(pikv_demo, text_that_is_too_short_fails) {
  const auto x = run_pikv("demo --only dense --text /dev/null --windows 1 --needles 0");
  EXPECT_EQ(x.code, 1);
  EXPECT_THAT(x.err, HasSubstr("invalid_argument"));
}

} // namespace
} // namespace pikv::tools
