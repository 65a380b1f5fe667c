// SPDX-License-Identifier: Apache-2.0
#include "eval/figures.hpp"
#include "eval/report.hpp"
#include "well_formed.hpp"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace pikv::tools {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

eval_outcome outcome(std::string name, std::string group, double bits, double stored) {
  eval_outcome x;
  x.row.name = std::move(name);
  x.group = std::move(group);
  x.row.bits_per_byte = bits;
  x.row.kv_share = x.row.read_share = x.read_bytes_share = stored;
  x.row.coverage = stored;
  x.row.needle = 0.5;
  x.row.entries = {100, 60, 10, 20, 10, 0};
  x.coverage_by_layer = {stored, 1};
  x.needles = {{1024, 0.25, {4, 4, 0, 0, 0}}, {4096, 0.25, {4, 2, 0, 0, 0}}};
  return x;
}

std::vector<eval_outcome> sample() {
  std::vector<eval_outcome> out{outcome("dense", "baseline", 1.25, 1),
                                outcome("odd, \"name\"", "compression", 1.2625, 0.5)};
  out[0].tasks = {{"multi_key", {10, 9, 10, 9, 1.25}}, {"variable", {10, 0, 10, 4, 3.3}}};
  out[1].tasks = {{"multi_key", {10, 5, 10, 7, 1.25}}};
  return out;
}

/// One record of RFC 4180 without line breaks in fields.
std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> out{""};
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '"' && quoted && i + 1 < line.size() && line[i + 1] == '"')
      out.back() += line[i++];
    else if (line[i] == '"')
      quoted = !quoted;
    else if (line[i] == ',' && !quoted)
      out.emplace_back();
    else
      out.back() += line[i];
  }
  return out;
}

std::vector<std::vector<std::string>> records_of(const std::string& csv) {
  std::vector<std::vector<std::string>> out;
  std::istringstream lines{csv};
  for (std::string line; std::getline(lines, line);)
    out.push_back(fields_of(line));
  return out;
}

TEST(eval_csv, every_record_has_every_field) {
  const auto records = records_of(eval_csv(sample()));
  ASSERT_EQ(records.size(), 3U);
  EXPECT_THAT(records[0],
              ElementsAre("name", "group", "kv_bytes", "kv_share", "read_share", "read_bytes_share",
                          "bits_per_byte", "loss", "coverage", "needle", "tokens_per_second",
                          "existing", "read", "not_routed", "not_selected", "evicted", "lost",
                          "needle@1024/0.25", "needle@4096/0.25", "multi_key", "multi_key.choice",
                          "variable", "variable.choice"));
  for (const auto& x : records)
    EXPECT_EQ(x.size(), records[0].size());
}

TEST(eval_csv, values_stand_under_their_names) {
  const auto records = records_of(eval_csv(sample()));
  const auto value = [&](std::size_t row, const char* name) {
    const auto at = std::ranges::find(records[0], name) - records[0].begin();
    return records[row].at(static_cast<std::size_t>(at));
  };
  EXPECT_EQ(value(2, "name"), "odd, \"name\"");
  EXPECT_EQ(value(2, "loss"), "0.01");
  EXPECT_EQ(value(2, "needle@4096/0.25"), "0.5");
  EXPECT_EQ(value(2, "multi_key"), "0.5");
  EXPECT_EQ(value(2, "multi_key.choice"), "0.7");
  EXPECT_EQ(value(2, "variable"), ""); // not measured
  EXPECT_EQ(value(1, "evicted"), "10");
}

TEST(eval_json, has_the_documented_fields) {
  const auto x = nlohmann::json::parse(eval_json(sample()));
  EXPECT_EQ(x.at("unusable_tasks"), nlohmann::json::array({"variable"}));
  const auto& row = x.at("rows").at(1);
  for (const auto* key :
       {"name", "group", "help", "kv_bytes", "kv_share", "read_share", "read_bytes_share",
        "bits_per_byte", "loss", "coverage", "coverage_by_layer", "needle", "needles", "tasks",
        "tokens_per_second", "entries"})
    EXPECT_TRUE(row.contains(key)) << key;
  EXPECT_NEAR(row.at("loss").get<double>(), 0.01, 1e-12);
  EXPECT_EQ(row.at("needles").at(1).at("right"), 2);
  EXPECT_EQ(row.at("tasks").at(0).at("chosen"), 7);
  EXPECT_EQ(row.at("entries").at("not_selected"), 20);
}

TEST(eval_json, has_what_forms_do_where_it_was_measured) {
  EXPECT_TRUE(nlohmann::json::parse(eval_json(sample())).at("forms").empty());
  form_errors measured{form::int3, 32, 4, {}};
  measured.sums.logit_error = 9;
  measured.sums.logit_norm = 16;
  measured.sums.logits = 36;
  const auto x = nlohmann::json::parse(eval_json(sample(), {}, {&measured, 1})).at("forms").at(0);
  EXPECT_EQ(x.at("form"), "int3");
  EXPECT_EQ(x.at("page_tokens"), 32);
  EXPECT_EQ(x.at("logit"), 0.75);
  EXPECT_EQ(x.at("nats"), 0.5);
  EXPECT_EQ(x.at("k"), 0); // no norm
}

TEST(eval_json, what_was_not_measured_is_null) {
  auto rows = sample();
  rows[1].row.bits_per_byte.reset();
  const auto x = nlohmann::json::parse(eval_json(rows)).at("rows").at(1);
  EXPECT_TRUE(x.at("bits_per_byte").is_null());
  EXPECT_TRUE(x.at("loss").is_null());
}

TEST(eval_table, says_which_tasks_the_model_cannot_do) {
  const auto text = eval_table(sample());
  EXPECT_THAT(text, HasSubstr("not usable on this model: variable (dense: 0 of 10 answers right; "
                              "the first byte chooses right in 40% of 10, blind choice in 33%)"));
  EXPECT_THAT(text, Not(HasSubstr("not usable on this model: multi_key")));
  EXPECT_THAT(text, HasSubstr("+1.00%"));
}

TEST(eval_table, costs_without_a_text_were_not_measured) {
  auto rows = sample();
  rows.resize(1);
  rows[0].row.bits_per_byte.reset();
  EXPECT_THAT(eval_table(rows), testing::ContainsRegex("dense +- +- +- +- +- +- +50.0%"));
}

TEST(eval_table, marks_accounts_that_do_not_add_up) {
  auto rows = sample();
  EXPECT_THAT(eval_table(rows), Not(HasSubstr("NO")));
  rows[1].row.entries.lost = 1;
  EXPECT_THAT(eval_table(rows), HasSubstr("NO"));
}

TEST(figures, are_well_formed_and_name_the_rows) {
  const auto all = figures_of(sample());
  std::vector<std::string> names;
  for (const auto& x : all) {
    names.push_back(x.name);
    EXPECT_EQ(xml_fault(x.svg), "") << x.name;
  }
  EXPECT_THAT(names, ElementsAre("pareto_stored", "pareto_read", "needle", "coverage_by_layer"));
  EXPECT_THAT(all[0].svg, HasSubstr("odd, &quot;name&quot;"));
}

TEST(figures, without_anything_to_draw_are_left_out) {
  auto rows = sample();
  rows.erase(rows.begin());
  rows[0].needles.clear();
  rows[0].coverage_by_layer.clear();
  EXPECT_TRUE(figures_of(rows).empty());
}

TEST(figures, to_a_folder_that_cannot_be_fail) {
  const auto all = figures_of(sample());
  EXPECT_EQ(write_figures(all, "/dev/null/plots").code(), errc::io_failed);
}

} // namespace
} // namespace pikv::tools
