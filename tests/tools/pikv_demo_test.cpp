// SPDX-License-Identifier: Apache-2.0
#include "run_command.hpp"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <sys/wait.h>
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

/// A file that goes with the test.
struct scratch_file {
  std::string path = std::filesystem::temp_directory_path()
                     / ("pikv_demo_trace_" + std::to_string(getpid()) + ".json");
  ~scratch_file() { std::remove(path.c_str()); }
  nlohmann::json parsed() const {
    std::ifstream file{path};
    return nlohmann::json::parse(file, nullptr, false);
  }
};

TEST(pikv_demo, trace_names_the_streams_and_what_they_did) {
  const scratch_file file;
  const auto x = run_pikv("demo --only int8 --windows 1 --needles 0 --context 512 --port 0 --trace "
                          + file.path);
  ASSERT_EQ(x.code, 0) << x.err;
  EXPECT_THAT(x.err, HasSubstr(file.path));
  const auto trace = file.parsed();
  ASSERT_TRUE(trace.is_object());
  std::set<std::string> tracks, spans;
  for (const auto& e : trace.at("traceEvents")) {
    if (e.at("ph") == "X")
      spans.insert(e.at("name"));
    else if (e.at("name") == "thread_name")
      tracks.insert(e.at("args").at("name"));
  }
  EXPECT_THAT(tracks, testing::IsSupersetOf({"pikv0.compute", "pikv0.codec", "rows"}));
  EXPECT_THAT(spans, testing::IsSupersetOf({"append", "attend", "int8"}));
}

TEST(pikv_demo, trace_to_a_bad_path_fails_before_the_work) {
  const auto x = run_pikv("demo --only int8 --trace /nonexistent/trace.json");
  EXPECT_EQ(x.code, 1);
  EXPECT_THAT(x.err, HasSubstr("cannot write the trace to /nonexistent/trace.json"));
  EXPECT_THAT(x.err, testing::Not(HasSubstr("model:")));
}

struct stopped_demo {
  int code = -1;
  std::string err;
};

/// Starts a demo, sends a signal once its standard error has `word`, and waits for its end.
stopped_demo stop_demo(std::vector<std::string> arguments, const std::string& word, int signal) {
  int err[2];
  if (pipe(err) != 0)
    return {};
  arguments.insert(arguments.begin(), {PIKV_COMMAND, "demo"});
  std::vector<char*> words;
  for (auto& x : arguments)
    words.push_back(x.data());
  words.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    dup2(err[1], STDERR_FILENO);
    execv(PIKV_COMMAND, words.data());
    _exit(127);
  }
  close(err[1]);
  std::string seen;
  bool told = false;
  std::array<char, 256> part{};
  for (ssize_t n; (n = read(err[0], part.data(), part.size())) > 0;) {
    seen.append(part.data(), static_cast<std::size_t>(n));
    if (!told && seen.find(word) != std::string::npos)
      told = kill(child, signal) == 0;
  }
  close(err[0]);
  int status = -1;
  waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, seen};
}

TEST(pikv_demo, load_ends_cleanly_on_sigterm) {
  const auto x = stop_demo({"--load", "--port", "0"}, "load until", SIGTERM);
  EXPECT_EQ(x.code, 0) << x.err;
  EXPECT_THAT(x.err, HasSubstr(" 0 failed passes"));
}

TEST(pikv_demo, load_refuses_a_row_without_metrics) {
  const auto x = run_pikv("demo --load --only dense");
  EXPECT_EQ(x.code, 1);
  EXPECT_THAT(x.err, HasSubstr("dense"));
}

TEST(pikv_demo, trace_is_written_after_an_interrupt) {
  const scratch_file file;
  const auto x =
      stop_demo({"--only", "exact", "--windows", "1000", "--port", "0", "--trace", file.path},
                "metrics: ", SIGINT);
  EXPECT_EQ(x.code, 130);
  const auto trace = file.parsed();
  ASSERT_TRUE(trace.is_object());
  EXPECT_GT(trace.at("otherData").at("spans").get<int>(), 0);
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
