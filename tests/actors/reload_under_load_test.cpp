// SPDX-License-Identifier: Apache-2.0
// Configurations change while requests run: each request sees exactly one of them.
#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <shared_mutex>
#include <thread>

#include <unistd.h>

#include "actors/fault_client.hpp"
#include "support/exposition.hpp"
#include "support/http_client.hpp"
#include <pikv/actors/runtime.hpp>
#include <pikv/config/config.hpp>
#include <pikv/policies/table.hpp>

namespace {

using namespace pikv;
using namespace pikv::test;

constexpr std::uint32_t tokens = 200; // 2 sinks, 22 settled pages of 8, 22 tokens in the window

config::settings base_settings(bool metrics) {
  auto s = fault_settings();
  s.metrics.enabled = metrics;
  s.metrics.port = 0;
  return s;
}

/// The base configuration as YAML with another selection. A budget of 0 pages: read all.
std::string yaml_with(config::settings s, std::uint32_t pages) {
  s.selection = {"all", {}};
  if (pages > 0) {
    s.selection.name = "mass";
    s.selection.options.set("pages", std::int64_t{pages});
  }
  return config::to_yaml(s, policies::catalog(), false);
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

/// One way of being wrong, and what the refusal says.
struct invalid {
  errc code;
  std::string text;
  std::vector<std::string> says;
};

std::vector<invalid> invalid_texts(const std::string& good) {
  const auto line_of = [&](const std::string& key) {
    const auto at = good.find(key);
    return std::count(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(at), '\n') + 1;
  };
  const auto at = [&](const std::string& key, int column) {
    return "<text>:" + std::to_string(line_of(key)) + ":" + std::to_string(column) + ": ";
  };
  return {
      {errc::config_syntax, replaced(good, "selection:", "selection: ["), {"<text>:"}},
      {errc::config_key,
       replaced(good, "routing:", "routng:"),
       {at("routing:", 1), "routng: there is no such key", "did you mean \"routing\""}},
      {errc::config_value,
       replaced(good, "deadline: 10s", "deadline: soon"),
       {at("deadline: 10s", 13), "limits.deadline: ", "soon"}},
      {errc::config_value,
       replaced(good, "audit_share: 0", "audit_share: 7"),
       {at("audit_share: 0", 16), "fidelity.audit_share: ", "out of range"}},
      {errc::config_restart, replaced(good, "window: 16", "window: 24"), {"cache.window"}},
  };
}

/// What each accepted version reads.
class accepted_versions {
public:
  void add(std::uint64_t version, std::uint32_t pages) {
    std::unique_lock guard{mutex_};
    pages_[version] = pages;
  }
  std::optional<std::uint32_t> pages(std::uint64_t version) const {
    std::shared_lock guard{mutex_};
    auto it = pages_.find(version);
    return it == pages_.end() ? std::nullopt : std::optional{it->second};
  }

private:
  mutable std::shared_mutex mutex_;
  std::map<std::uint64_t, std::uint32_t> pages_;
};

/// A sequence of `tokens` tokens and the buffers to attend to it from its last position.
struct reader {
  explicit reader(cache& c) : cache_(c), id(*c.open()) {
    std::mt19937 random{7};
    std::uniform_real_distribution<float> value{-1, 1};
    const auto& f = fault_shape;
    std::vector<float> kv(tokens * f.kv_heads * f.head_dim);
    std::ranges::generate(kv, [&] { return value(random); });
    std::ranges::generate(q, [&] { return value(random); });
    const batch_part all{id, 0, tokens};
    auto x = nhd(std::span<const float>{kv}, tokens, f.kv_heads, f.head_dim);
    auto done = c.append(0, {&all, 1}, x, x);
    EXPECT_TRUE(done.wait().ok());
  }

  result<attend_report> attend() {
    const auto& f = fault_shape;
    const batch_part last{id, tokens - 1, 1};
    auto done =
        cache_.attend(0, {&last, 1}, nhd(std::span<const float>{q}, 1, f.query_heads, f.head_dim),
                      nhd(std::span<float>{out}, 1, f.query_heads, f.head_dim));
    auto* r = wait_at_most(done, 15s);
    return r != nullptr ? *r : result<attend_report>{errc::internal, "it did not end"};
  }

  cache& cache_;
  sequence_id id;
  std::vector<float> q = std::vector<float>(fault_shape.query_heads * fault_shape.head_dim);
  std::vector<float> out = q;
};

/// Entries that an attend from the last position reads under a selection of `pages` old pages.
std::uint64_t expected_read(std::uint32_t pages) {
  constexpr std::uint64_t settled = (tokens - 2 - 16) / 8;
  return (pages == 0 ? tokens : tokens - 8 * (settled - pages)) * fault_shape.kv_heads;
}

struct seen_report {
  std::uint64_t version, read;
};

/// Attends until told to stop; the reports are compared with the versions when all are known.
void read_on(cache& c, const std::stop_token& stop, std::vector<seen_report>& seen,
             std::atomic<std::uint64_t>& attends) {
  reader r{c};
  while (!stop.stop_requested()) {
    auto x = r.attend();
    ASSERT_TRUE(x.ok()) << x.error().what;
    ASSERT_TRUE(x->entries.adds_up());
    seen.push_back({x->config_version, x->entries.read});
    ++attends;
  }
}

double reloads_counted(std::uint16_t port, const std::string& outcome) {
  auto text = read_exposition(http_get(port, "/metrics").body);
  auto n = text["pikv_config_reload_total{result=\"" + outcome + "\"}"];
  return std::isnan(n) ? 0 : n;
}

/// 500 reloads, every second one invalid; each valid one is in force for at least one attend.
void reload_many(runtime& r, const config::settings& base, accepted_versions& accepted,
                 const std::atomic<std::uint64_t>& attends) {
  const auto bad = invalid_texts(yaml_with(base, 0));
  std::mt19937 random{3};
  for (std::size_t i = 0; i < 500; ++i) {
    if (i % 2 == 1) {
      const auto& x = bad[i / 2 % bad.size()];
      auto done = r.reload_text(x.text);
      auto* answer = wait_at_most(done, 15s);
      ASSERT_NE(answer, nullptr);
      ASSERT_EQ(answer->code(), x.code) << (answer->ok() ? "" : answer->error().what);
      for (const auto& part : x.says)
        EXPECT_NE(answer->error().what.find(part), std::string::npos)
            << answer->error().what << "\nlacks " << part;
      continue;
    }
    const auto pages = static_cast<std::uint32_t>(i % 4 == 0 ? random() % 16 + 1 : 0);
    const auto version = r.status().config_version + 1;
    accepted.add(version, pages); // before it is in force: a request may see it at once
    auto done = r.reload_text(yaml_with(base, pages));
    auto* answer = wait_at_most(done, 15s);
    ASSERT_NE(answer, nullptr);
    ASSERT_TRUE(answer->ok()) << answer->error().what;
    ASSERT_EQ(answer->value(), version);
    const auto before = attends.load();
    ASSERT_TRUE(eventually([&] { return attends.load() > before + 1; }, 15s));
  }
}

TEST(reload, each_request_runs_under_exactly_one_accepted_version) {
  const auto base = base_settings(true);
  auto r = runtime::start(base);
  ASSERT_TRUE(r.ok()) << r.error().what;
  auto c = r->open(fault_shape);
  ASSERT_TRUE(c.ok()) << c.error().what;
  accepted_versions accepted;
  accepted.add(1, 0);
  std::vector<seen_report> seen[2];
  std::atomic<std::uint64_t> attends{0};
  {
    std::vector<std::jthread> threads;
    for (auto& x : seen)
      threads.emplace_back([&](const std::stop_token& stop) { read_on(*c, stop, x, attends); });
    reload_many(*r, base, accepted, attends);
  }
  std::map<std::uint64_t, int> versions;
  for (const auto& list : seen)
    for (const auto& x : list) {
      auto pages = accepted.pages(x.version);
      ASSERT_TRUE(pages) << "version " << x.version << " was never accepted";
      ASSERT_EQ(x.read, expected_read(*pages)) << "version " << x.version << ", pages " << *pages;
      ++versions[x.version];
    }
  std::printf("reload: %zu attends saw %zu of 251 versions\n", seen[0].size() + seen[1].size(),
              versions.size());
  EXPECT_GT(versions.size(), 50U) << "too few versions were seen to say anything";
  EXPECT_EQ(r->status().config_version, 251U);
  const auto port = r->status().metrics_port;
  EXPECT_EQ(reloads_counted(port, "success"), 250);
  EXPECT_EQ(reloads_counted(port, "refused"), 250);
}

/// A configuration in a file of its own, with a runtime that follows it.
class reload_from_file : public ::testing::Test {
protected:
  void SetUp() override {
    write(yaml_with(base, 0));
    auto r = runtime::from_file(path);
    ASSERT_TRUE(r.ok()) << r.error().what;
    running.emplace(std::move(*r));
    auto c = running->open(fault_shape);
    ASSERT_TRUE(c.ok()) << c.error().what;
    kv.emplace(std::move(*c));
  }
  void TearDown() override {
    running.reset();
    std::filesystem::remove(path);
  }

  void write(const std::string& text) const {
    std::ofstream f{path, std::ios::trunc};
    f << text;
  }
  bool version_becomes(std::uint64_t version) const {
    return eventually([&] { return running->status().config_version == version; }, 15s);
  }
  void expect_pages(std::uint32_t pages, std::uint64_t version) {
    reader r{*kv};
    auto x = r.attend();
    ASSERT_TRUE(x.ok()) << x.error().what;
    EXPECT_EQ(x->config_version, version);
    EXPECT_EQ(x->entries.read, expected_read(pages));
  }

  config::settings base = base_settings(true);
  std::string path = ::testing::TempDir() + "pikv_reload_" + std::to_string(::getpid()) + ".yaml";
  std::optional<runtime> running;
  std::optional<cache> kv;
};

TEST_F(reload_from_file, a_changed_file_is_taken) {
  write(yaml_with(base, 3));
  ASSERT_TRUE(version_becomes(2));
  expect_pages(3, 2);
}

TEST_F(reload_from_file, sighup_reads_the_file_again) {
  ASSERT_EQ(std::raise(SIGHUP), 0);
  ASSERT_TRUE(version_becomes(2));
  expect_pages(0, 2);
}

TEST_F(reload_from_file, a_post_reads_the_file_again_and_answers_with_the_version) {
  write(yaml_with(base, 5));
  auto reply = http_post(running->status().metrics_port, "/-/reload");
  EXPECT_EQ(reply.status, 200);
  EXPECT_NE(reply.body.find('2'), std::string::npos) << reply.body;
  expect_pages(5, running->status().config_version);
}

TEST_F(reload_from_file, a_refused_file_is_named_with_its_line_and_the_last_good_one_stays) {
  const auto good = yaml_with(base, 0);
  write(replaced(good, "routing:", "routng:"));
  auto reply = http_post(running->status().metrics_port, "/-/reload");
  EXPECT_GE(reply.status, 400);
  const auto line =
      std::count(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(good.find("routing:")),
                 '\n')
      + 1;
  EXPECT_NE(reply.body.find(path + ":" + std::to_string(line) + ":1: routng"), std::string::npos)
      << reply.body;
  expect_pages(0, 1);
}

TEST_F(reload_from_file, calls_for_a_reload_of_the_file_answer_with_its_version) {
  write(yaml_with(base, 4));
  auto done = running->reload_file();
  auto* r = wait_at_most(done, 15s);
  ASSERT_NE(r, nullptr);
  ASSERT_TRUE(r->ok()) << r->error().what;
  expect_pages(4, running->status().config_version);
}

} // namespace
