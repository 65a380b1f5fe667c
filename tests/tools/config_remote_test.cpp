// SPDX-License-Identifier: Apache-2.0
// pikv config diff and apply against a runtime of this process.
#include "run_command.hpp"

#include <fstream>
#include <optional>

#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pikv/actors/runtime.hpp>
#include <pikv/config/config.hpp>
#include <pikv/policies/table.hpp>

namespace pikv::tools {
namespace {

using testing::HasSubstr;

class config_remote : public testing::Test {
protected:
  void SetUp() override {
    ::unsetenv("PIKV_ADMIN_TOKEN");
    folder_ = std::filesystem::temp_directory_path()
              / ("pikv_config_remote_" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
    std::ofstream{folder_ / "token"} << "a-token-of-22-letters\n";
    config::settings s;
    s.devices.memory_bytes = std::uint64_t{64} << 20;
    s.devices.scratch_bytes = std::uint64_t{16} << 20;
    s.metrics.port = 0;
    s.metrics.admin_token_file = (folder_ / "token").string();
    auto r = runtime::start(s);
    ASSERT_TRUE(r.ok()) << r.error().what;
    runtime_.emplace(std::move(*r));
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  /// `pikv config WORD FILE --url ...` with what is in force after `edit`.
  template <class Edit>
  command_outcome run(const std::string& words, Edit edit) {
    auto s = runtime_->settings();
    edit(s);
    return run_text(words, config::to_yaml(s, policies::catalog(), false));
  }
  command_outcome run_text(const std::string& words, const std::string& yaml) {
    std::ofstream{file()} << yaml;
    return run_pikv("config " + words + " " + file()
                    + " --url http://127.0.0.1:" + std::to_string(runtime_->status().metrics_port));
  }
  std::string file() const { return (folder_ / "pikv.yaml").string(); }
  std::string with_token() const { return "apply --token-file " + (folder_ / "token").string(); }

  std::filesystem::path folder_;
  std::optional<runtime> runtime_;
};

void fewer_in_flight(config::settings& s) { s.limits.max_in_flight = 77; }
void larger_pages(config::settings& s) { s.cache.page_tokens = 32; }

TEST_F(config_remote, diff_of_what_is_in_force_is_empty) {
  const auto x = run("diff", [](config::settings&) {});
  EXPECT_EQ(x.code, 0) << x.err;
  EXPECT_EQ(x.out, "");
}

TEST_F(config_remote, diff_shows_old_and_new_and_when) {
  const auto x = run("diff", [](config::settings& s) {
    fewer_in_flight(s);
    larger_pages(s);
    s.selection = {"mass", {}};
    s.selection.options.set("share", 0.5);
  });
  EXPECT_EQ(x.code, 1) << x.err;
  EXPECT_THAT(x.out, HasSubstr("limits.max_in_flight: 1024 -> 77 (live)\n"));
  EXPECT_THAT(x.out, HasSubstr("cache.page_tokens: 16 -> 32 (restart)\n"));
  EXPECT_THAT(x.out, HasSubstr("selection.share: none -> 0.5 (live)\n"));
  EXPECT_EQ(runtime_->settings().limits.max_in_flight, 1024U);
}

TEST_F(config_remote, diff_of_a_bad_file_or_of_no_process_is_an_error) {
  EXPECT_EQ(run_text("diff", "routng: {}\n").code, 2);
  std::ofstream{file()} << "limits: {max_in_flight: 77}\n";
  const auto x = run_pikv("config diff " + file() + " --url http://127.0.0.1:1");
  EXPECT_EQ(x.code, 2);
  EXPECT_THAT(x.err, HasSubstr("metrics.port"));
}

TEST_F(config_remote, apply_puts_the_file_in_force) {
  const auto x = run(with_token(), fewer_in_flight);
  EXPECT_EQ(x.code, 0) << x.err;
  EXPECT_THAT(x.out, HasSubstr("version 2 is in force"));
  EXPECT_THAT(x.out, HasSubstr("limits.max_in_flight: 1024 -> 77 "
                               "(live; holds for the next request)\n"));
  EXPECT_EQ(runtime_->settings().limits.max_in_flight, 77U);
}

TEST_F(config_remote, apply_takes_the_token_from_the_environment) {
  ::setenv("PIKV_ADMIN_TOKEN", "a-token-of-22-letters", 1);
  const auto x = run("apply", fewer_in_flight);
  ::unsetenv("PIKV_ADMIN_TOKEN");
  EXPECT_EQ(x.code, 0) << x.err;
  EXPECT_EQ(runtime_->settings().limits.max_in_flight, 77U);
}

TEST_F(config_remote, apply_without_the_token_changes_nothing) {
  const auto x = run("apply", fewer_in_flight);
  EXPECT_EQ(x.code, 1);
  EXPECT_NE(x.err, "");
  EXPECT_EQ(runtime_->settings().limits.max_in_flight, 1024U);
}

TEST_F(config_remote, a_dry_run_changes_nothing_and_needs_no_token) {
  const auto x = run("apply --dry-run", fewer_in_flight);
  EXPECT_EQ(x.code, 0) << x.err;
  EXPECT_THAT(x.out, HasSubstr("limits.max_in_flight"));
  EXPECT_EQ(runtime_->settings().limits.max_in_flight, 1024U);
}

TEST_F(config_remote, a_refusal_names_the_file_the_line_and_the_reason) {
  const auto x = run_text(with_token(), "routing:\n  policy: gate_top_q\n");
  EXPECT_EQ(x.code, 1);
  EXPECT_THAT(x.err, HasSubstr(file() + ":2:11: "));
  EXPECT_THAT(x.err, HasSubstr("gate_top_k"));
}

TEST_F(config_remote, a_dry_run_says_which_keys_need_a_restart) {
  const auto x = run("apply --dry-run", larger_pages);
  EXPECT_EQ(x.code, 1);
  EXPECT_THAT(x.out, HasSubstr("it would be refused"));
  EXPECT_THAT(x.out, HasSubstr("cache.page_tokens: 16 -> 32 (restart)\n"));
}

TEST_F(config_remote, keys_for_a_restart_are_refused_by_name) {
  const auto x = run(with_token(), larger_pages);
  EXPECT_EQ(x.code, 1);
  EXPECT_THAT(x.err, HasSubstr("can only change at a restart: cache.page_tokens"));
}

} // namespace
} // namespace pikv::tools
