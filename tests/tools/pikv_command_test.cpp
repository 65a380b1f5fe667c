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
using testing::Not;

/// A file that goes with the test.
class scratch_file {
public:
  explicit scratch_file(const std::string& text)
      : path_(std::filesystem::temp_directory_path()
              / ("pikv_command_test_" + std::to_string(getpid()) + ".yaml")) {
    std::ofstream{path_} << text;
  }
  ~scratch_file() { std::filesystem::remove(path_); }
  std::string path() const { return path_.string(); }

private:
  std::filesystem::path path_;
};

TEST(pikv_command, without_a_subcommand_is_wrong_usage) {
  const auto x = run_pikv("");
  EXPECT_EQ(x.code, 2);
  EXPECT_THAT(x.err, HasSubstr("subcommand"));
}

TEST(pikv_command, unknown_subcommand_is_wrong_usage) { EXPECT_EQ(run_pikv("plam").code, 2); }

TEST(pikv_command, help_names_every_subcommand) {
  const auto x = run_pikv("--help");
  EXPECT_EQ(x.code, 0);
  for (const auto* name : {"version", "policies", "config", "plan", "replay"})
    EXPECT_THAT(x.out, HasSubstr(name));
}

TEST(pikv_command, every_help_has_an_example) {
  for (const auto* name : {"version", "policies", "config", "config check", "config show",
                           "config default", "config reference", "config diff", "config apply", "plan", "replay"}) {
    const auto x = run_pikv(std::string{name} + " --help");
    EXPECT_EQ(x.code, 0) << name;
    EXPECT_THAT(x.out, HasSubstr("Example")) << name;
    EXPECT_THAT(x.out, HasSubstr(std::string{"  pikv "} + name)) << name;
  }
}

TEST(pikv_command, replay_compares_policies_on_the_trace_that_ships) {
  const std::string trace = PIKV_SOURCE_DIR "/examples/traces/chats.jsonl";
  const auto x = run_pikv("replay " + trace + " --capacity 800 --policy lru,belady --format json");
  ASSERT_EQ(x.code, 0) << x.err;
  const auto json = nlohmann::json::parse(x.out);
  EXPECT_EQ(json["requests"], 1500);
  ASSERT_EQ(json["rows"].size(), 2U);
  EXPECT_LT(json["rows"][0]["hit_share"], json["rows"][1]["hit_share"]);
  EXPECT_LE(json["rows"][1]["hit_share"], json["infinite"]["hit_share"]);
}

TEST(pikv_command, replay_of_a_file_that_is_no_trace_fails_with_the_reason) {
  const scratch_file file{"cache: {}\n"};
  const auto x = run_pikv("replay " + file.path());
  EXPECT_EQ(x.code, 1);
  EXPECT_THAT(x.err, HasSubstr("not a trace"));
}

TEST(pikv_command, config_check_refuses_policies_that_cannot_run_live) {
  const scratch_file file{"scheduling: {policy: belady}\n"};
  const auto x = run_pikv("config check " + file.path());
  EXPECT_EQ(x.code, 1);
  EXPECT_THAT(x.err, HasSubstr("offline only; use `pikv replay`"));
}

TEST(pikv_command, version_says_what_it_runs_on) {
  const auto x = run_pikv("version");
  EXPECT_EQ(x.code, 0);
  for (const auto* word :
       {"pikv ", "build ", "compiler ", "backends ", "simd ", "cuda ", "nccl ", "caf "})
    EXPECT_THAT(x.out, HasSubstr(word));
}

TEST(pikv_command, policies_lists_every_kind) {
  const auto x = run_pikv("policies");
  EXPECT_EQ(x.code, 0);
  for (const auto* kind :
       {"placement:", "routing:", "selection:", "compression:", "budget:", "scheduling:"})
    EXPECT_THAT(x.out, HasSubstr(kind));
}

TEST(pikv_command, policies_of_one_kind_lists_its_options_alone) {
  const auto x = run_pikv("policies selection");
  EXPECT_EQ(x.code, 0);
  EXPECT_THAT(x.out, HasSubstr("quest"));
  EXPECT_THAT(x.out, HasSubstr("shared | per_kv_head"));
  EXPECT_THAT(x.out, Not(HasSubstr("placement:")));
}

TEST(pikv_command, unknown_kind_fails_with_the_nearest) {
  const auto x = run_pikv("policies selektion");
  EXPECT_EQ(x.code, 1);
  EXPECT_THAT(x.err, HasSubstr("did you mean \"selection\""));
}

TEST(pikv_command, default_config_passes_its_own_check) {
  const auto written = run_pikv("config default");
  ASSERT_EQ(written.code, 0);
  EXPECT_THAT(written.out, HasSubstr("#"));
  const scratch_file file{written.out};
  const auto x = run_pikv("config check " + file.path());
  EXPECT_EQ(x.code, 0) << x.err;
  EXPECT_THAT(x.out, HasSubstr(": ok"));
}

TEST(pikv_command, unknown_key_fails_with_file_line_and_column) {
  const scratch_file file{"cache:\n  page_tokns: 16\n"};
  const auto x = run_pikv("config check " + file.path());
  EXPECT_EQ(x.code, 1);
  EXPECT_THAT(x.err, HasSubstr(file.path() + ":2:3: "));
  EXPECT_THAT(x.err, HasSubstr("page_tokens"));
  EXPECT_EQ(x.out, "");
}

TEST(pikv_command, missing_file_fails) {
  const auto x = run_pikv("config check /nonexistent/pikv.yaml");
  EXPECT_EQ(x.code, 1);
  EXPECT_THAT(x.err, HasSubstr("/nonexistent/pikv.yaml"));
}

TEST(pikv_command, check_needs_a_file) { EXPECT_EQ(run_pikv("config check").code, 2); }

TEST(pikv_command, show_prints_the_settings_in_force) {
  const scratch_file file{"cache:\n  page_tokens: 32\n"};
  const auto x = run_pikv("config show " + file.path());
  EXPECT_EQ(x.code, 0) << x.err;
  EXPECT_THAT(x.out, HasSubstr("page_tokens: 32"));
  EXPECT_THAT(x.out, HasSubstr("window: 128"));
}

TEST(pikv_command, show_without_a_file_prints_the_defaults) {
  const auto x = run_pikv("config show");
  EXPECT_EQ(x.code, 0);
  EXPECT_THAT(x.out, HasSubstr("page_tokens: 16"));
}

TEST(pikv_command, reference_is_a_page_of_all_keys) {
  const auto x = run_pikv("config reference");
  EXPECT_EQ(x.code, 0);
  EXPECT_THAT(x.out, HasSubstr("page_tokens"));
  EXPECT_THAT(x.out, HasSubstr("gate_top_k"));
}

TEST(pikv_command, plan_without_a_model_says_how_to_name_one) {
  const auto x = run_pikv("plan");
  EXPECT_EQ(x.code, 1);
  EXPECT_THAT(x.err, HasSubstr("--model"));
}

TEST(pikv_command, plan_of_an_unknown_model_names_the_known) {
  const auto x = run_pikv("plan --model mixtral");
  EXPECT_EQ(x.code, 1);
  EXPECT_THAT(x.err, HasSubstr("mixtral-8x7b"));
}

TEST(pikv_command, plan_refuses_a_model_and_a_shape) {
  EXPECT_EQ(run_pikv("plan --model mixtral-8x7b --layers 4").code, 2);
}

TEST(pikv_command, plan_refuses_an_unknown_form) {
  EXPECT_EQ(run_pikv("plan --model mixtral-8x7b --form int5").code, 2);
}

TEST(pikv_command, plan_prints_bytes_and_the_papers_formulas) {
  const auto x = run_pikv("plan --model mixtral-8x7b --gpus 8");
  EXPECT_EQ(x.code, 0) << x.err;
  EXPECT_THAT(x.out, HasSubstr("131,072 bytes per token"));
  EXPECT_THAT(x.out, HasSubstr("L/G + L/E"));
  EXPECT_THAT(x.out, HasSubstr("S* = sqrt(L/(K G))"));
}

TEST(pikv_command, plan_says_that_a_latent_has_no_v) {
  const auto x = run_pikv("plan --model deepseek-v3 --form bf16");
  EXPECT_THAT(x.out, HasSubstr("70,272 bytes per token"));
  EXPECT_THAT(x.out, HasSubstr("no V"));
}

TEST(pikv_command, plan_json_parts_add_up_to_the_total) {
  const auto x =
      run_pikv("plan --model qwen3-30b-a3b --form int4 --selection mass --gpus 3 --json");
  ASSERT_EQ(x.code, 0) << x.err;
  const auto plan = nlohmann::json::parse(x.out);
  std::uint64_t sum = 0;
  for (const auto& [part, bytes] : plan.at("fullest_device_bytes").items())
    if (part != "total")
      sum += bytes.get<std::uint64_t>();
  EXPECT_EQ(sum, plan.at("fullest_device_bytes").at("total").get<std::uint64_t>());
  EXPECT_EQ(plan.at("dense_16bit_bytes_per_token").get<double>(), 98304);
}

TEST(pikv_command, plan_of_a_custom_shape_takes_its_numbers) {
  const auto x = run_pikv("plan --layers 6 --query-heads 8 --kv-heads 4 --head-dim 32 --json");
  ASSERT_EQ(x.code, 0) << x.err;
  EXPECT_EQ(nlohmann::json::parse(x.out).at("dense_16bit_bytes_per_token").get<double>(), 3072);
}

#ifndef PIKV_HAS_EXAMPLES
TEST(pikv_command, help_says_that_the_demo_is_absent) {
  EXPECT_THAT(run_pikv("--help").out, HasSubstr("PIKV_BUILD_EXAMPLES"));
}

TEST(pikv_command, absent_demo_is_wrong_usage) { EXPECT_EQ(run_pikv("demo").code, 2); }
#endif

} // namespace
} // namespace pikv::tools
