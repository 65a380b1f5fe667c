// SPDX-License-Identifier: Apache-2.0
// Settings and models that cannot work are refused before anything starts.
#include <cmath>
#include <functional>

#include <gtest/gtest.h>

#include "support/cache_harness.hpp"

namespace pikv::test {
namespace {

TEST(bad_start, unsupported_models_are_refused) {
  auto r = runtime::start(small_settings());
  ASSERT_TRUE(r.ok());
  for (const model_shape& s : {model_shape{0, 4, 2, 32, 0},
                               {1, 0, 2, 32, 0},
                               {1, 4, 0, 32, 0},
                               {1, 4, 3, 32, 0},
                               {1, 4, 2, 0, 0},
                               {1, 4, 2, 33, 0},
                               {1, 4, 2, 512, 0},
                               {1, 4, 2, 32, 70000},
                               {1, 4096, 2, 32, 0}})
    EXPECT_EQ(r->open(s).code(), errc::unsupported);
  auto c = r->open({1, 4, 2, 32, 0});
  ASSERT_TRUE(c.ok()) << "a refused model must not use up the runtime";
  const auto x = c->open();
  const batch_part part{*x, 0, 1};
  const float gate[4] = {};
  EXPECT_EQ(c->annotate(0, std::span{&part, 1}, gate).wait().code(), errc::unsupported);
}

TEST(bad_start, settings_out_of_range_are_refused) {
  using config::settings;
  const std::vector<std::pair<const char*, std::function<void(settings&)>>> faults = {
      {"no lanes", [](settings& s) { s.runtime.lanes = 0; }},
      {"no actor threads", [](settings& s) { s.runtime.actor_threads = 0; }},
      {"no devices", [](settings& s) { s.devices.count = 0; }},
      {"unknown backend", [](settings& s) { s.devices.backend = "abacus"; }},
      {"no memory", [](settings& s) { s.devices.memory_bytes = 0; }},
      {"page of 7", [](settings& s) { s.cache.page_tokens = 7; }},
      {"no shards", [](settings& s) { s.cache.shards = 0; }},
      {"window below a page", [](settings& s) { s.cache.window = 8; }},
      {"sinks beyond a page", [](settings& s) { s.cache.sinks = 17; }},
      {"unknown type", [](settings& s) { s.cache.stored = static_cast<dtype>(9); }},
      {"unknown policy", [](settings& s) { s.placement = choose("strip"); }},
      {"unknown option",
       [](settings& s) {
         s.budget = choose("uniform", {{"token", std::int64_t{1}}});
       }},
      {"option that is NaN",
       [](settings& s) {
         s.selection = choose("mass", {{"share", std::nan("")}});
       }},
      {"option out of range",
       [](settings& s) {
         s.selection = choose("mass", {{"share", 1.5}});
       }},
      {"option of another type",
       [](settings& s) {
         s.selection = choose("mass", {{"share", std::string{"half"}}});
       }},
      {"share that is NaN", [](settings& s) { s.fidelity.audit_share = std::nan(""); }},
      {"no requests", [](settings& s) { s.limits.max_in_flight = 0; }},
      {"negative deadline", [](settings& s) { s.limits.deadline = std::chrono::nanoseconds{-1}; }},
      {"no address",
       [](settings& s) {
         s.metrics.enabled = true;
         s.metrics.address = "";
       }},
  };
  for (const auto& [what, change] : faults) {
    auto s = small_settings();
    change(s);
    const auto code = runtime::start(s).code();
    EXPECT_TRUE(code == errc::config_value || code == errc::config_key
                || code == errc::unknown_policy || code == errc::unsupported)
        << what << ": " << to_string(code);
  }
}

TEST(bad_start, nccl_on_the_host_is_refused_and_says_what_to_set) {
  auto s = small_settings();
  s.transfer.path = move_path::nccl;
  const auto r = runtime::start(s);
  ASSERT_EQ(r.code(), errc::config_value);
  EXPECT_NE(r.error().what.find("transfer.path"), std::string::npos) << r.error().what;
  EXPECT_NE(r.error().what.find("devices.backend"), std::string::npos) << r.error().what;
}

TEST(bad_start, nccl_in_a_build_without_it_is_refused_and_says_what_to_do) {
  auto s = small_settings();
  s.devices.backend = "cuda";
  s.transfer.path = move_path::nccl;
  const auto r = runtime::start(s);
  if (r.ok())
    GTEST_SKIP() << "this build has NCCL";
  ASSERT_EQ(r.code(), errc::unsupported);
  EXPECT_NE(r.error().what.find("PIKV_WITH_NCCL"), std::string::npos) << r.error().what;
  EXPECT_NE(r.error().what.find("transfer.path"), std::string::npos) << r.error().what;
}

TEST(bad_start, host_devices_take_every_path_but_nccl) {
  for (const auto path : {move_path::automatic, move_path::peer}) {
    auto s = small_settings();
    s.devices.count = 3;
    s.transfer.path = path;
    auto r = runtime::start(s);
    ASSERT_TRUE(r.ok());
    EXPECT_TRUE(r->open({1, 4, 2, 32, 0}).ok());
  }
}

TEST(bad_start, faulty_files_are_refused) {
  EXPECT_EQ(runtime::from_file("/nonexistent/pikv.yaml").code(), errc::io_failed);
}

} // namespace
} // namespace pikv::test
