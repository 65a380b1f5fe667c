// SPDX-License-Identifier: Apache-2.0
#include "run_command.hpp"
#include "well_formed.hpp"

#include <array>
#include <csignal>
#include <fstream>
#include <iterator>

#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace pikv::tools {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::string text_of(const fs::path& path) {
  std::ifstream file{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, {}};
}

/// One run of a few rows over one short window, shared by the tests.
class eval_run : public testing::Test {
protected:
  static void SetUpTestSuite() {
    folder = fs::temp_directory_path() / ("pikv_eval_test_" + std::to_string(getpid()));
    fs::create_directories(folder);
    ran = run_pikv("eval --only dense,int4,streaming_1_2,mass_per_head_1_8,oracle_pages_1_8 "
                   "--windows 1 --contexts 768 --needles 2 --depths 0.5,0.2 --tasks multi_query "
                   "--task-prompts 1 --csv "
                   + (folder / "x.csv").string() + " --json " + (folder / "x.json").string()
                   + " --plots " + (folder / "plots").string());
    rows = nlohmann::json::parse(text_of(folder / "x.json"), nullptr, false);
  }
  static void TearDownTestSuite() { fs::remove_all(folder); }
  void SetUp() override { ASSERT_EQ(ran.code, 0) << ran.err; }

  static const nlohmann::json& row(std::size_t i) { return rows.at("rows").at(i); }

  static inline fs::path folder;
  static inline command_outcome ran;
  static inline nlohmann::json rows;
};

TEST_F(eval_run, measures_the_rows_in_order) {
  ASSERT_EQ(rows.at("rows").size(), 5U);
  EXPECT_EQ(row(0).at("name"), "dense");
  EXPECT_EQ(row(4).at("name"), "oracle_pages_1_8");
  for (const auto& x : rows.at("rows"))
    EXPECT_THAT(ran.out,
                HasSubstr(std::string{"\n"}.append(x.at("name").get<std::string>()).append(" ")));
}

TEST_F(eval_run, dense_is_its_own_yardstick) {
  EXPECT_EQ(row(0).at("loss"), 0);
  EXPECT_EQ(row(0).at("kv_share"), 1);
  EXPECT_EQ(row(0).at("read_bytes_share"), 1);
  EXPECT_NEAR(row(0).at("coverage").get<double>(), 1, 1e-3);
}

TEST_F(eval_run, forms_store_less_and_budgets_evict) {
  EXPECT_LT(row(1).at("kv_share").get<double>(), 0.95);
  EXPECT_GT(row(2).at("entries").at("evicted").get<int>(), 0);
  EXPECT_LT(row(2).at("read_bytes_share").get<double>(), 1);
}

TEST_F(eval_run, selections_read_less_and_oracles_cover_more) {
  for (const std::size_t i : {3U, 4U}) {
    EXPECT_GT(row(i).at("entries").at("not_selected").get<int>(), 0);
    EXPECT_LT(row(i).at("read_share").get<double>(), 1);
  }
  EXPECT_NEAR(row(3).at("read_share").get<double>(), row(4).at("read_share").get<double>(), 1e-9);
  EXPECT_GT(row(4).at("coverage").get<double>(), row(3).at("coverage").get<double>());
}

TEST_F(eval_run, accounts_add_up_in_every_row) {
  for (const auto& x : rows.at("rows")) {
    const auto& e = x.at("entries");
    const auto n = [&](const char* key) { return e.at(key).get<std::uint64_t>(); };
    EXPECT_EQ(n("existing"),
              n("read") + n("not_routed") + n("not_selected") + n("evicted") + n("lost"));
  }
}

TEST_F(eval_run, needles_stand_at_their_depths) {
  const auto& cells = row(0).at("needles");
  ASSERT_EQ(cells.size(), 2U);
  EXPECT_EQ(cells.at(0).at("depth"), 0.2);
  EXPECT_EQ(cells.at(0).at("context"), 768);
  EXPECT_EQ(cells.at(1).at("asked"), 1);
}

TEST_F(eval_run, coverage_comes_by_layer) {
  for (const auto& x : rows.at("rows"))
    EXPECT_EQ(x.at("coverage_by_layer").size(), 6U);
}

TEST_F(eval_run, csv_has_a_line_per_row) {
  const auto csv = text_of(folder / "x.csv");
  EXPECT_EQ(std::ranges::count(csv, '\n'), 6);
  EXPECT_THAT(csv, HasSubstr("\nstreaming_1_2,scheduling,"));
}

TEST_F(eval_run, draws_well_formed_pictures) {
  for (const auto* name : {"pareto_stored", "pareto_read", "needle", "coverage_by_layer"}) {
    const auto svg = text_of(folder / "plots" / (std::string{name} + ".svg"));
    EXPECT_EQ(xml_fault(svg), "") << name;
    EXPECT_GT(svg.size(), 1000U);
  }
}

TEST(pikv_eval, list_names_rows_and_groups_without_running) {
  const auto x = run_pikv("eval --list");
  EXPECT_EQ(x.code, 0);
  EXPECT_THAT(x.out, HasSubstr("scheduling   h2o_1_8"));
  EXPECT_THAT(x.out, HasSubstr("oracle_pages_1_32"));
}

/// Starts an evaluation of two rows, interrupts it once the second one runs, and
/// gives its exit status.
int interrupted_eval(const std::string& json) {
  int err[2];
  if (pipe(err) != 0)
    return -1;
  const pid_t child = fork();
  if (child == 0) {
    dup2(err[1], STDERR_FILENO);
    execl(PIKV_COMMAND, PIKV_COMMAND, "eval", "--only", "dense,exact", "--windows", "24",
          "--contexts", "256", "--needles", "0", "--json", json.c_str(), nullptr);
    _exit(127);
  }
  close(err[1]);
  std::string seen;
  bool told = false;
  std::array<char, 256> part{};
  for (ssize_t n; (n = read(err[0], part.data(), part.size())) > 0;) {
    seen.append(part.data(), static_cast<std::size_t>(n));
    if (!told && seen.find("metrics: ") != std::string::npos) // the second row has begun
      told = kill(child, SIGINT) == 0;
  }
  close(err[0]);
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(pikv_eval, keeps_what_is_done_after_an_interrupt) {
  const auto json = fs::temp_directory_path() / ("pikv_eval_int_" + std::to_string(getpid()));
  EXPECT_EQ(interrupted_eval(json.string()), 130);
  const auto x = nlohmann::json::parse(text_of(json), nullptr, false);
  fs::remove(json);
  ASSERT_TRUE(x.is_object());
  ASSERT_EQ(x.at("rows").size(), 1U);
  EXPECT_EQ(x.at("rows").at(0).at("name"), "dense");
}

struct mistake {
  const char* arguments;
  const char* taught;
};

TEST(pikv_eval, bad_input_fails_with_a_reason) {
  for (const auto& [arguments, taught] : std::initializer_list<mistake>{
           {"--only int5", "did you mean \"int"},
           {"--only dense --budgets 2", "--budgets 2"},
           {"--only dense --depths 7", "--depths 7"},
           {"--only dense --tasks multi_kay --windows 0", "did you mean \"multi_key\""},
           {"--only dense --model /nonexistent", "config.json"},
           {"--only dense --contexts 65536", "this model takes 4096"},
           {"--only dense --csv /nonexistent/x.csv", "cannot write /nonexistent/x.csv"},
           {"--only dense --text /dev/null --windows 1", "text"}}) {
    const auto x = run_pikv(std::string{"eval --needles 4 "} + arguments);
    EXPECT_EQ(x.code, 1) << arguments;
    EXPECT_THAT(x.err, HasSubstr(taught)) << arguments;
  }
}

TEST(pikv_eval, wrong_usage_is_told_apart) {
  EXPECT_EQ(run_pikv("eval --contexts 7").code, 2);
  EXPECT_EQ(run_pikv("eval --kv-dtype f8").code, 2);
}

} // namespace
} // namespace pikv::tools
