// SPDX-License-Identifier: Apache-2.0
// Changing a running configuration over HTTP.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <pikv/actors/runtime.hpp>

#include "support/http_client.hpp"

namespace pikv {
namespace {

using nlohmann::json;
using test::http_get;
using test::http_request;

class http_tuning : public testing::Test {
protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("pikv_http_" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
    write("token", "  a-token-of-22-letters \n");
    settings_.devices.memory_bytes = std::uint64_t{64} << 20;
    settings_.devices.scratch_bytes = std::uint64_t{16} << 20;
    settings_.metrics.port = 0;
    settings_.metrics.admin_token_file = (folder_ / "token").string();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void write(const char* name, const std::string& text) const {
    std::ofstream{folder_ / name} << text;
  }
  void start() {
    auto r = runtime::start(settings_);
    ASSERT_TRUE(r.ok()) << r.error().what;
    runtime_.emplace(std::move(*r));
    port_ = runtime_->status().metrics_port;
  }
  /// What the answer says, and its status.
  std::pair<int, json> ask(const char* method, const char* path,
                           const std::string& body = {}) const {
    const auto x =
        http_request(port_, method, path, "Authorization: Bearer a-token-of-22-letters\r\n", body);
    return {x.status, json::parse(x.body, nullptr, false)};
  }
  /// The configuration in force with one line changed.
  std::string edited(const std::string& from, const std::string& to) const {
    auto text = http_get(port_, "/config").body;
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return at == std::string::npos ? text : text.replace(at, from.size(), to);
  }
  json history() const { return json::parse(http_get(port_, "/config/history").body); }

  std::filesystem::path folder_;
  config::settings settings_;
  std::optional<runtime> runtime_;
  std::uint16_t port_ = 0;
};

TEST_F(http_tuning, what_is_shown_can_be_edited_and_put_back) {
  start();
  const auto [status, x] =
      ask("PUT", "/config", edited("max_in_flight: 1024", "max_in_flight: 77"));
  ASSERT_EQ(status, 200) << x;
  EXPECT_EQ(x["version"], 2);
  ASSERT_EQ(x["changed"].size(), 1U) << x;
  EXPECT_EQ(x["changed"][0]["key"], "limits.max_in_flight");
  EXPECT_EQ(x["changed"][0]["effect"], "holds for the next request");
  EXPECT_EQ(runtime_->settings().limits.max_in_flight, 77U);
  EXPECT_NE(http_get(port_, "/metrics").body.find("pikv_config_version 2"), std::string::npos);
}

TEST_F(http_tuning, a_dry_run_changes_nothing) {
  start();
  const auto [status, x] =
      ask("PUT", "/config?dry_run=1", edited("max_in_flight: 1024", "max_in_flight: 77"));
  ASSERT_EQ(status, 200) << x;
  EXPECT_EQ(x["dry_run"], true);
  EXPECT_EQ(x["would_be_taken"], true);
  EXPECT_EQ(x["restart"], json::array());
  EXPECT_EQ(x["version"], 1);
  EXPECT_EQ(x["changed"][0]["key"], "limits.max_in_flight");
  EXPECT_EQ(runtime_->settings().limits.max_in_flight, settings_.limits.max_in_flight);
  EXPECT_EQ(history().size(), 0U);
}

TEST_F(http_tuning, a_dry_run_lists_the_keys_that_need_a_restart) {
  start();
  auto text = edited("max_in_flight: 1024", "max_in_flight: 77");
  const std::string from = "page_tokens: 16";
  text.replace(text.find(from), from.size(), "page_tokens: 32");
  const auto [status, x] = ask("PUT", "/config?dry_run=1", text);
  ASSERT_EQ(status, 200) << x;
  EXPECT_EQ(x["would_be_taken"], false);
  EXPECT_EQ(x["restart"], json::array({"cache.page_tokens"}));
  ASSERT_EQ(x["changed"].size(), 2U) << x;
  EXPECT_EQ(x["changed"][0]["key"], "cache.page_tokens");
  EXPECT_EQ(x["changed"][0]["before"], "16");
  EXPECT_EQ(x["changed"][0]["after"], "32");
  EXPECT_EQ(x["changed"][0]["when"], "restart");
  EXPECT_EQ(x["changed"][1]["when"], "live");
  EXPECT_EQ(history().size(), 0U);
}

TEST_F(http_tuning, a_bad_value_is_refused_with_its_line_and_remembered) {
  start();
  const auto [status, x] = ask("PUT", "/config", "routing:\n  policy: gate_top_q\n");
  EXPECT_EQ(status, 400);
  const auto what = x["error"].get<std::string>();
  EXPECT_TRUE(what.starts_with("<text>:2:11: ")) << what;
  EXPECT_NE(what.find("gate_top_k"), std::string::npos) << what;
  const auto h = history();
  ASSERT_EQ(h.size(), 1U);
  EXPECT_EQ(h[0]["refused"], what);
  EXPECT_EQ(h[0]["version"], 1);
  EXPECT_EQ(h[0]["who"], "http from 127.0.0.1");
}

TEST_F(http_tuning, a_key_that_needs_a_restart_is_refused) {
  start();
  const auto [status, x] = ask("PUT", "/config", edited("page_tokens: 16", "page_tokens: 32"));
  EXPECT_EQ(status, 400);
  EXPECT_NE(x["error"].get<std::string>().find("cache.page_tokens"), std::string::npos) << x;
}

TEST_F(http_tuning, goes_back_one_change_and_forth_again) {
  start();
  EXPECT_EQ(ask("POST", "/config/rollback").first, 400); // nothing to go back to
  ASSERT_EQ(ask("PUT", "/config", edited("max_in_flight: 1024", "max_in_flight: 77")).first, 200);
  ASSERT_EQ(ask("PUT", "/config", edited("max_in_flight: 77", "max_in_flight: 77")).first, 200);
  EXPECT_EQ(ask("POST", "/config/rollback").second["version"], 4);
  EXPECT_EQ(runtime_->settings().limits.max_in_flight, settings_.limits.max_in_flight);
  EXPECT_EQ(ask("POST", "/config/rollback").first, 200);
  EXPECT_EQ(runtime_->settings().limits.max_in_flight, 77U);
  const auto h = history(); // the newest first
  ASSERT_EQ(h.size(), 5U);
  EXPECT_EQ(h[0]["changed"][0]["key"], "limits.max_in_flight");
  EXPECT_EQ(h[2]["changed"].size(), 0U);
  EXPECT_TRUE(h[4].contains("refused"));
}

TEST_F(http_tuning, a_token_that_is_missing_or_short_is_refused_at_the_start) {
  write("token", "short");
  auto short_one = runtime::start(settings_);
  ASSERT_FALSE(short_one.ok());
  EXPECT_EQ(short_one.code(), errc::config_value);
  EXPECT_NE(short_one.error().what.find("16"), std::string::npos) << short_one.error().what;
  settings_.metrics.admin_token_file = (folder_ / "none").string();
  auto none = runtime::start(settings_);
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.code(), errc::io_failed);
}

} // namespace
} // namespace pikv
