// SPDX-License-Identifier: Apache-2.0
#include "demo/locate.hpp"
#include "demo/progress.hpp"
#include "demo/rows.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>
#include <stdexcept>

#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pikv/config/config.hpp>
#include <pikv/policies/table.hpp>

namespace pikv::tools {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

demo_base base_of_tiny_moe() {
  demo_base x;
  x.shape = {6, 8, 4, 32, 16};
  return x;
}

const demo_row& row_of(std::string_view name) {
  for (const auto& row : demo_rows())
    if (row.name == name)
      return row;
  throw std::out_of_range{std::string{name}};
}

std::vector<std::string_view> names_of(std::span<const demo_row> rows) {
  std::vector<std::string_view> out;
  for (const auto& row : rows)
    out.push_back(row.name);
  return out;
}

TEST(demo_rows, run_in_this_order) {
  EXPECT_THAT(names_of(demo_rows()),
              ElementsAre("dense", "exact", "int8", "int4", "gate_k4", "gate_k8", "mass_shared_1_8",
                          "mass_shared_1_4", "mass_per_head_1_8", "mass_per_head_1_4",
                          "quest_shared_1_8", "quest_shared_1_4", "quest_per_head_1_8",
                          "quest_per_head_1_4", "h2o_1_4", "streaming_1_4", "int4_mass_1_4"));
}

TEST(demo_rows, every_configuration_is_valid) {
  const auto catalog = policies::catalog();
  for (const auto& row : demo_rows()) {
    const auto settings = settings_of(row, base_of_tiny_moe());
    const auto parsed = config::parse(config::to_yaml(settings, catalog), catalog);
    EXPECT_TRUE(parsed.ok()) << row.name << ": " << (parsed.ok() ? "" : parsed.error().what);
  }
}

TEST(demo_rows, every_configuration_but_the_plain_row_differs) {
  const auto catalog = policies::catalog();
  std::set<std::string> seen;
  for (const auto& row : demo_rows()) {
    const auto yaml = config::to_yaml(settings_of(row, base_of_tiny_moe()), catalog);
    EXPECT_TRUE(row.plain || seen.insert(yaml).second) << row.name;
  }
}

TEST(demo_rows, exact_row_reads_everything_raw) {
  const auto x = settings_of(row_of("exact"), base_of_tiny_moe());
  EXPECT_EQ(x.routing.name, "all");
  EXPECT_EQ(x.selection.name, "all");
  EXPECT_EQ(x.compression.name, "identity");
}

TEST(demo_rows, gate_rows_place_and_route_by_gate) {
  const auto x = settings_of(row_of("gate_k8"), base_of_tiny_moe());
  EXPECT_EQ(x.placement.name, "gate");
  EXPECT_EQ(x.routing.name, "gate_top_k");
  EXPECT_EQ(x.routing.options.integer("k"), 8);
}

TEST(demo_rows, selection_rows_set_score_heads_and_share) {
  const auto x = settings_of(row_of("quest_shared_1_8"), base_of_tiny_moe());
  EXPECT_EQ(x.selection.name, "quest");
  EXPECT_EQ(x.selection.options.text("heads"), "shared");
  EXPECT_EQ(x.selection.options.real("share"), 0.125);
}

TEST(demo_rows, evicting_rows_keep_a_quarter_of_the_context) {
  auto base = base_of_tiny_moe();
  base.context = 2048;
  const auto x = settings_of(row_of("h2o_1_4"), base);
  EXPECT_EQ(x.budget.options.integer("tokens"), 512);
  EXPECT_EQ(x.scheduling.name, "h2o");
}

TEST(demo_rows, last_row_packs_and_selects) {
  const auto x = settings_of(row_of("int4_mass_1_4"), base_of_tiny_moe());
  EXPECT_EQ(x.compression.name, "int4");
  EXPECT_EQ(x.selection.options.text("heads"), "per_kv_head");
  EXPECT_EQ(x.selection.options.real("share"), 0.25);
}

TEST(demo_rows, raw_pages_take_the_asked_type) {
  auto base = base_of_tiny_moe();
  base.stored = dtype::bf16;
  EXPECT_EQ(settings_of(row_of("int4"), base).cache.stored, dtype::bf16);
}

TEST(demo_rows, pages_begin_after_the_asked_sinks) {
  auto base = base_of_tiny_moe();
  EXPECT_EQ(settings_of(row_of("exact"), base).cache.sinks, config::settings{}.cache.sinks);
  base.sinks = 16;
  EXPECT_EQ(settings_of(row_of("exact"), base).cache.sinks, 16U);
}

TEST(demo_rows, memory_holds_a_batch_of_long_contexts) {
  auto base = base_of_tiny_moe();
  base.context = 1 << 20;
  EXPECT_GE(static_cast<double>(settings_of(row_of("exact"), base).devices.memory_bytes),
            1.5 * plain_bytes_per_token(base) * base.context * base.batch);
}

TEST(demo_rows, plain_bytes_are_those_of_k_and_v) {
  EXPECT_EQ(plain_bytes_per_token(base_of_tiny_moe()), 3072);
}

TEST(demo_rows, picked_rows_keep_their_order) {
  const std::vector<std::string> names{"int4", "dense"};
  const auto rows = pick_rows(names);
  ASSERT_TRUE(rows.ok());
  EXPECT_THAT(names_of(*rows), ElementsAre("dense", "int4"));
}

TEST(demo_rows, no_names_pick_all) {
  const auto rows = pick_rows({});
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(rows->size(), demo_rows().size());
}

TEST(demo_rows, unknown_row_is_refused_with_the_nearest) {
  const std::vector<std::string> names{"int5"};
  const auto rows = pick_rows(names);
  ASSERT_EQ(rows.code(), errc::invalid_argument);
  EXPECT_THAT(rows.error().what, HasSubstr("did you mean \"int"));
}

class located : public testing::Test {
protected:
  located() {
    std::filesystem::create_directories(root_ / "first");
    std::filesystem::create_directories(root_ / "second");
    std::ofstream{root_ / "second" / "config.json"} << "{}";
    std::ofstream{root_ / "second" / "eval_text.txt"} << "text";
  }
  ~located() override { std::filesystem::remove_all(root_); }

  const std::filesystem::path root_ =
      std::filesystem::temp_directory_path() / ("pikv_located_" + std::to_string(getpid()));
  const std::vector<std::filesystem::path> places_{root_ / "first", root_ / "second"};
};

TEST_F(located, first_place_with_a_config_wins) {
  const auto x = locate("", "", places_);
  ASSERT_TRUE(x.ok());
  EXPECT_EQ(x->model, (root_ / "second").string());
  EXPECT_EQ(x->text, (root_ / "second" / "eval_text.txt").string());
}

TEST_F(located, no_place_names_all_that_were_tried) {
  const auto x = locate("", "", std::span{places_}.first(1));
  ASSERT_EQ(x.code(), errc::io_failed);
  EXPECT_THAT(x.error().what, HasSubstr((root_ / "first").string()));
  EXPECT_THAT(x.error().what, HasSubstr("--model"));
}

TEST_F(located, named_folder_without_a_model_is_refused) {
  EXPECT_EQ(locate((root_ / "first").string(), "", places_).code(), errc::io_failed);
}

TEST_F(located, missing_text_is_refused_by_name) {
  const auto x = locate("", (root_ / "no.txt").string(), places_);
  ASSERT_EQ(x.code(), errc::io_failed);
  EXPECT_THAT(x.error().what, HasSubstr("no.txt"));
}

TEST(progress, bar_counts_finished_rows_and_the_current_one) {
  const auto text = progress_text({"int8", 1, 4, 50, 100, 1234, 1.375});
  EXPECT_THAT(text, HasSubstr("[#########...............] 2/4 int8  50%  1234 tokens/s"));
  EXPECT_THAT(text, HasSubstr("1.375 bits/byte"));
}

TEST(progress, nothing_done_is_an_empty_bar) {
  EXPECT_THAT(progress_text({"dense", 0, 1, 0, 0, 0, 0}), HasSubstr("[........................]"));
}

/// What a progress line wrote, at these times after its start.
std::string written(bool terminal, std::initializer_list<int> at_ms) {
  char* text = nullptr;
  std::size_t bytes = 0;
  std::FILE* out = open_memstream(&text, &bytes);
  {
    progress_line line{out, terminal};
    const auto begun = progress_line::clock::now();
    for (const auto ms : at_ms)
      line.update({"row", 0, 1, 1, 2, 10, 0}, begun + std::chrono::milliseconds{ms});
  }
  std::fclose(out);
  std::string copy{text, bytes};
  std::free(text);
  return copy;
}

TEST(progress, plain_lines_come_every_few_seconds) {
  const auto text = written(false, {0, 1000, 4999, 5000, 9000});
  EXPECT_EQ(std::ranges::count(text, '\n'), 2);
}

TEST(progress, plain_lines_hold_no_control_characters) {
  EXPECT_EQ(written(false, {0}).find_first_of("\r\x1b"), std::string::npos);
}

TEST(progress, bar_is_removed_at_the_end) {
  const auto text = written(true, {0, 200});
  EXPECT_EQ(text.find('\n'), std::string::npos);
  EXPECT_TRUE(text.ends_with("\r\x1b[K"));
}

} // namespace
} // namespace pikv::tools
