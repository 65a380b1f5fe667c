// SPDX-License-Identifier: Apache-2.0
#include <pikv/monitoring/http_server.hpp>

#include <atomic>
#include <latch>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <pikv/monitoring/metrics.hpp>

#include "support/exposition.hpp"
#include "support/http_client.hpp"

namespace pikv::monitoring {

namespace {

using namespace std::chrono_literals;
using test::http_get;
using test::http_post;
using test::http_request;

http_handlers plain_handlers() {
  return {.metrics = [] { return std::string{"pikv_config_version 1\n"}; },
          .healthy = {},
          .ready = {},
          .reload = {}};
}

http_server serve(http_handlers handlers, http_options options = {}) {
  auto x = http_server::start(options, std::move(handlers));
  EXPECT_TRUE(x.ok()) << (x ? "" : x.error().what);
  return std::move(*x);
}

} // namespace

TEST(http_server, port_zero_finds_a_free_port) {
  auto server = serve(plain_handlers());
  EXPECT_NE(server.port(), 0);
}

TEST(http_server, metrics_have_the_exposition_content_type) {
  auto server = serve(plain_handlers());
  const auto reply = http_get(server.port(), "/metrics");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.field("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(reply.body, "pikv_config_version 1\n");
}

TEST(http_server, content_length_is_the_bodys_length) {
  auto server = serve(plain_handlers());
  const auto reply = http_get(server.port(), "/metrics");
  EXPECT_EQ(reply.field("Content-Length"), std::to_string(reply.body.size()));
}

TEST(http_server, serves_a_registry_of_metrics) {
  const metrics m;
  auto probe = m.router({0});
  probe.request_begun(request_kind::append);
  auto handlers = plain_handlers();
  handlers.metrics = [&] { return m.text(); };
  auto server = serve(std::move(handlers));
  const auto x = test::read_exposition(http_get(server.port(), "/metrics").body);
  EXPECT_TRUE(x.malformed.empty());
  EXPECT_EQ(x["pikv_router_requests_total{kind=\"append\"}"], 1);
}

TEST(http_server, a_query_string_does_not_change_the_page) {
  auto server = serve(plain_handlers());
  EXPECT_EQ(http_get(server.port(), "/metrics?x=1").status, 200);
}

TEST(http_server, readiness_follows_the_callback) {
  std::atomic<bool> ready{false};
  auto handlers = plain_handlers();
  handlers.ready = [&] { return ready.load(); };
  auto server = serve(std::move(handlers));
  EXPECT_EQ(http_get(server.port(), "/-/ready").status, 503);
  ready = true;
  EXPECT_EQ(http_get(server.port(), "/-/ready").status, 200);
}

TEST(http_server, health_follows_the_callback) {
  auto handlers = plain_handlers();
  handlers.healthy = [] { return false; };
  auto server = serve(std::move(handlers));
  EXPECT_EQ(http_get(server.port(), "/-/healthy").status, 503);
}

TEST(http_server, health_without_a_callback_is_good) {
  auto server = serve(plain_handlers());
  EXPECT_EQ(http_get(server.port(), "/-/healthy").status, 200);
}

TEST(http_server, index_links_to_the_metrics) {
  auto server = serve(plain_handlers());
  const auto reply = http_get(server.port(), "/");
  EXPECT_EQ(reply.status, 200);
  EXPECT_NE(reply.body.find("href=\"/metrics\""), std::string::npos);
}

TEST(http_server, unknown_paths_are_not_found) {
  auto server = serve(plain_handlers());
  for (const auto* path : {"/nothing", "/metrics/", "/metrics/x", "/-/", "/-/reload"})
    EXPECT_EQ(http_get(server.port(), path).status, 404) << path;
}

TEST(http_server, files_of_the_machine_are_not_found) {
  auto server = serve(plain_handlers());
  for (const auto* path : {"/etc/passwd", "/../etc/passwd", "/%2e%2e/etc/passwd"})
    EXPECT_EQ(http_get(server.port(), path).status, 404) << path;
}

TEST(http_server, head_is_get_without_a_body) {
  auto server = serve(plain_handlers());
  const auto reply = http_request(server.port(), "HEAD", "/metrics");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.field("Content-Length"), "22");
  EXPECT_TRUE(reply.body.empty());
}

TEST(http_server, other_methods_are_not_allowed) {
  auto server = serve(plain_handlers());
  const auto reply = http_post(server.port(), "/metrics");
  EXPECT_EQ(reply.status, 405);
  EXPECT_EQ(reply.field("Allow"), "GET, HEAD");
}

TEST(http_server, a_taken_reload_answers_the_version) {
  auto handlers = plain_handlers();
  handlers.reload = [] { return result<std::uint64_t>{std::uint64_t{7}}; };
  auto server = serve(std::move(handlers));
  const auto reply = http_post(server.port(), "/-/reload");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.field("Content-Type"), "application/json");
  EXPECT_EQ(reply.body, "{\"version\":7}\n");
}

TEST(http_server, a_refused_reload_answers_the_reason_as_json) {
  auto handlers = plain_handlers();
  handlers.reload = [] {
    return result<std::uint64_t>{errc::config_key, "pikv.yaml:3:1: no key \"routng\"\nsee C:\\x"};
  };
  auto server = serve(std::move(handlers));
  const auto reply = http_post(server.port(), "/-/reload");
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(reply.body, "{\"error\":\"pikv.yaml:3:1: no key \\\"routng\\\"\\u000asee C:\\\\x\","
                        "\"code\":\"config_key\"}\n");
}

TEST(http_server, reload_by_get_is_not_allowed_and_does_nothing) {
  std::atomic<int> calls{0};
  auto handlers = plain_handlers();
  handlers.reload = [&] { return result<std::uint64_t>{std::uint64_t(++calls)}; };
  auto server = serve(std::move(handlers));
  const auto reply = http_get(server.port(), "/-/reload");
  EXPECT_EQ(reply.status, 405);
  EXPECT_EQ(reply.field("Allow"), "POST");
  EXPECT_EQ(calls, 0);
}

TEST(http_server, a_reload_past_its_deadline_answers_in_time) {
  std::latch release{1};
  auto handlers = plain_handlers();
  handlers.reload = [&] {
    release.wait();
    return result<std::uint64_t>{std::uint64_t{1}};
  };
  auto server = serve(std::move(handlers), {.reload_deadline = 50ms});
  EXPECT_EQ(http_post(server.port(), "/-/reload").status, 504);
  EXPECT_EQ(http_get(server.port(), "/metrics").status, 200);
  release.count_down();
}

TEST(http_server, reloads_run_one_at_a_time) {
  std::atomic<int> running{0};
  std::atomic<int> most{0};
  std::atomic<std::uint64_t> version{0};
  auto handlers = plain_handlers();
  handlers.reload = [&] {
    most = std::max(most.load(), ++running);
    std::this_thread::yield();
    --running;
    return result<std::uint64_t>{++version};
  };
  auto server = serve(std::move(handlers));
  {
    std::vector<std::jthread> clients;
    for (int i = 0; i < 4; ++i)
      clients.emplace_back([&] {
        for (int j = 0; j < 10; ++j)
          EXPECT_EQ(http_post(server.port(), "/-/reload").status, 200);
      });
  }
  EXPECT_EQ(most, 1);
  EXPECT_EQ(version, 40u);
}

TEST(http_server, an_exception_of_a_handler_is_an_error_page) {
  auto handlers = plain_handlers();
  handlers.metrics = []() -> std::string { throw std::runtime_error{"no scrape"}; };
  handlers.reload = []() -> result<std::uint64_t> { throw std::runtime_error{"no reload"}; };
  auto server = serve(std::move(handlers));
  EXPECT_EQ(http_get(server.port(), "/metrics").status, 500);
  const auto reply = http_post(server.port(), "/-/reload");
  EXPECT_EQ(reply.status, 400);
  EXPECT_NE(reply.body.find("no reload"), std::string::npos);
}

// -- changes of the configuration
// -------------------------------------------------------------------

namespace {

constexpr auto token_line = "Authorization: Bearer 0123456789abcdef\r\n";

/// Answers what it was asked, and counts.
struct config_fake {
  std::atomic<int> asked{0};

  http_handlers handlers() {
    auto h = plain_handlers();
    h.reload = [this]() -> result<std::uint64_t> {
      ++asked;
      return 7;
    };
    h.config = [] { return std::string{"selection:\n  policy: all\n"}; };
    h.history = [] { return std::string{"[]\n"}; };
    h.change = [this](const config_request& x) -> result<std::string> {
      ++asked;
      if (x.yaml == "bad")
        return error{errc::config_syntax, "<text>:1:1: \"bad\" is no mapping"};
      return std::to_string(static_cast<int>(x.what)) + " " + x.yaml + " by " + x.who;
    };
    return h;
  }
};

http_options with_token() {
  http_options o;
  o.token = "0123456789abcdef";
  return o;
}

} // namespace

TEST(http_server, shows_the_configuration_without_a_token) {
  config_fake fake;
  auto server = serve(fake.handlers(), with_token());
  EXPECT_EQ(http_get(server.port(), "/config").body, "selection:\n  policy: all\n");
  EXPECT_EQ(http_get(server.port(), "/config/history").body, "[]\n");
  EXPECT_EQ(http_request(server.port(), "DELETE", "/config").field("Allow"), "GET, HEAD, PUT");
}

TEST(http_server, changes_need_the_token) {
  config_fake fake;
  auto server = serve(fake.handlers(), with_token());
  const auto port = server.port();
  for (const auto* field :
       {"", "Authorization: Bearer 0123456789abcdee\r\n",
        "Authorization: Bearer 0123456789abcdef0\r\n", "Authorization: Bearer \r\n",
        "Authorization: Basic 0123456789abcdef\r\n", "Authorization: 0123456789abcdef\r\n"}) {
    EXPECT_EQ(http_request(port, "PUT", "/config", field, "x").status, 401) << field;
    EXPECT_EQ(http_request(port, "POST", "/config/rollback", field).status, 401) << field;
    EXPECT_EQ(http_request(port, "POST", "/-/reload", field).status, 401) << field;
  }
  EXPECT_EQ(http_request(port, "PUT", "/config").field("WWW-Authenticate"), "Bearer");
  EXPECT_EQ(fake.asked, 0);
  const auto taken = http_request(port, "PUT", "/config", token_line, "a: 1");
  EXPECT_EQ(taken.status, 200);
  EXPECT_EQ(taken.body, "1 a: 1 by http from 127.0.0.1");
  EXPECT_EQ(http_request(port, "POST", "/config/rollback", token_line).body,
            "2  by http from 127.0.0.1");
  EXPECT_EQ(http_request(port, "POST", "/-/reload", token_line).body, "{\"version\":7}\n");
}

TEST(http_server, without_a_token_only_reload_changes_anything) {
  config_fake fake;
  auto server = serve(fake.handlers());
  const auto refused = http_request(server.port(), "PUT", "/config", token_line, "x");
  EXPECT_EQ(refused.status, 403);
  EXPECT_NE(refused.body.find("metrics.admin_token_file"), std::string::npos) << refused.body;
  EXPECT_EQ(http_request(server.port(), "POST", "/config/rollback").status, 403);
  EXPECT_EQ(fake.asked, 0);
  EXPECT_EQ(http_post(server.port(), "/-/reload").status, 200);
}

TEST(http_server, a_dry_run_needs_no_token) {
  config_fake fake;
  auto server = serve(fake.handlers());
  const auto x = http_request(server.port(), "PUT", "/config?dry_run=1", "", "a: 2");
  EXPECT_EQ(x.status, 200);
  EXPECT_EQ(x.body, "0 a: 2 by http from 127.0.0.1");
}

TEST(http_server, a_query_that_is_not_known_changes_nothing) {
  config_fake fake;
  auto server = serve(fake.handlers(), with_token());
  for (const auto* path : {"/config?dry_run=true", "/config?dry_run=1&x", "/config?x"})
    EXPECT_EQ(http_request(server.port(), "PUT", path, token_line, "a: 2").status, 400) << path;
  EXPECT_EQ(fake.asked, 0);
}

TEST(http_server, pages_of_other_sites_change_nothing) {
  config_fake fake;
  auto server = serve(fake.handlers(), with_token());
  const auto from = [](const char* origin) {
    return std::string{token_line} + "Origin: " + origin + "\r\n";
  };
  for (const auto* origin : {"http://evil.example", "null", "http://localhost.evil.example"}) {
    EXPECT_EQ(http_request(server.port(), "PUT", "/config", from(origin), "x").status, 403)
        << origin;
    EXPECT_EQ(http_request(server.port(), "POST", "/-/reload", from(origin)).status, 403) << origin;
  }
  EXPECT_EQ(fake.asked, 0);
  EXPECT_EQ(http_request(server.port(), "PUT", "/config", from("http://localhost"), "x").status,
            200);
}

TEST(http_server, a_refused_change_answers_the_reason_with_its_line) {
  config_fake fake;
  auto server = serve(fake.handlers(), with_token());
  const auto x = http_request(server.port(), "PUT", "/config", token_line, "bad");
  EXPECT_EQ(x.status, 400);
  EXPECT_NE(x.body.find("<text>:1:1: "), std::string::npos) << x.body;
}

TEST(http_server, a_body_that_is_too_long_is_refused) {
  config_fake fake;
  auto server = serve(fake.handlers(), with_token());
  const std::string most((std::size_t{256} << 10), 'a'), more(most.size() + 1, 'a');
  EXPECT_EQ(http_request(server.port(), "PUT", "/config", token_line, most).status, 200);
  EXPECT_EQ(http_request(server.port(), "PUT", "/config", token_line, more).status, 413);
  EXPECT_EQ(fake.asked, 1);
}

TEST(http_server, the_page_and_its_parts_may_load_only_each_other) {
  auto server = serve(plain_handlers());
  for (const auto& [path, type] : {std::pair{"/", "text/html; charset=utf-8"},
                                   std::pair{"/page.css", "text/css; charset=utf-8"},
                                   std::pair{"/page.js", "text/javascript; charset=utf-8"}}) {
    const auto x = http_get(server.port(), path);
    EXPECT_EQ(x.status, 200) << path;
    EXPECT_EQ(x.field("Content-Type"), type);
    EXPECT_EQ(x.field("Content-Security-Policy"), "default-src 'self'; frame-ancestors 'none'");
    EXPECT_GT(x.body.size(), 1000U) << path;
    EXPECT_EQ(x.body.find("http://"), x.body.find("http://www.w3.org/2000/svg")) << path;
    EXPECT_EQ(x.body.find("https://"), std::string::npos) << path;
  }
}

TEST(http_server, many_clients_get_whole_answers) {
  const metrics m;
  std::vector<owner_probe> owners;
  for (std::uint32_t i = 0; i < 8; ++i)
    owners.push_back(m.owner({i}, 64)); // an answer of many packets
  auto handlers = plain_handlers();
  handlers.metrics = [&] { return m.text(); };
  auto server = serve(std::move(handlers));
  const auto expected = m.text();
  std::atomic<int> wrong{0};
  {
    std::vector<std::jthread> clients;
    for (int i = 0; i < 8; ++i)
      clients.emplace_back([&] {
        for (int j = 0; j < 10; ++j)
          wrong += http_get(server.port(), "/metrics").body != expected;
      });
  }
  EXPECT_EQ(wrong, 0);
}

TEST(http_server, a_port_in_use_is_an_error_that_says_what_to_do) {
  auto first = serve(plain_handlers());
  const auto second = http_server::start({.port = first.port()}, plain_handlers());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.code(), errc::io_failed);
  EXPECT_NE(second.error().what.find(std::to_string(first.port())), std::string::npos);
  EXPECT_NE(second.error().what.find("in use"), std::string::npos) << second.error().what;
  EXPECT_NE(second.error().what.find("metrics.port"), std::string::npos);
}

TEST(http_server, the_first_server_survives_a_second_on_its_port) {
  auto first = serve(plain_handlers());
  EXPECT_FALSE(http_server::start({.port = first.port()}, plain_handlers()).ok());
  EXPECT_EQ(http_get(first.port(), "/metrics").status, 200);
}

TEST(http_server, an_address_of_another_machine_cannot_be_bound) {
  const auto x = http_server::start({.address = "192.0.2.1"}, plain_handlers());
  EXPECT_EQ(x.code(), errc::io_failed);
}

TEST(http_server, an_address_that_is_no_address_is_refused) {
  for (const auto* address : {"", "localhost", "127.0.0.1,0.0.0.0", "127.0.0.1:80", "::g"})
    EXPECT_EQ(http_server::start({.address = address}, plain_handlers()).code(),
              errc::invalid_argument)
        << address;
}

TEST(http_server, a_missing_metrics_handler_is_refused) {
  EXPECT_EQ(http_server::start({}, {}).code(), errc::invalid_argument);
}

TEST(http_server, a_stopped_server_frees_its_port) {
  auto first = serve(plain_handlers());
  const auto port = first.port();
  first.stop();
  EXPECT_EQ(first.port(), 0);
  auto second = serve(plain_handlers(), {.port = port});
  EXPECT_EQ(http_get(port, "/metrics").status, 200);
}

TEST(http_server, stops_at_once_when_nobody_asks) {
  auto server = serve(plain_handlers());
  const auto begin = std::chrono::steady_clock::now();
  server.stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
}

TEST(http_server, serves_ipv6) {
  const auto x = http_server::start({.address = "::1"}, plain_handlers());
  if (x.code() == errc::unsupported)
    GTEST_SKIP() << x.error().what;
  ASSERT_TRUE(x.ok()) << x.error().what;
  EXPECT_NE(x->port(), 0);
}

TEST(http_server, stop_may_be_called_again) {
  auto server = serve(plain_handlers());
  server.stop();
  server.stop();
}

TEST(http_server, stop_ends_clients_that_wait_for_a_reload) {
  std::latch begun{1};
  std::latch release{1};
  auto handlers = plain_handlers();
  handlers.reload = [&] {
    begun.count_down();
    release.wait();
    return result<std::uint64_t>{std::uint64_t{1}};
  };
  auto server = serve(std::move(handlers));
  const auto port = server.port();
  int status = 0;
  {
    std::jthread client{[&] { status = http_post(port, "/-/reload").status; }};
    begun.wait();
    server.stop();
  }
  EXPECT_EQ(status, 503);
  release.count_down();
}

TEST(http_server, stop_does_not_wait_for_a_client_that_never_finishes_its_request) {
  auto server = serve(plain_handlers());
  test::tcp_connection slow{server.port()};
  ASSERT_TRUE(slow.connected());
  slow.write("GET /metrics HTTP/1.1\r\nHost:");
  EXPECT_EQ(http_get(server.port(), "/metrics").status, 200); // by now the slow one is accepted
  const auto begin = std::chrono::steady_clock::now();
  server.stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 8s);
}

} // namespace pikv::monitoring
