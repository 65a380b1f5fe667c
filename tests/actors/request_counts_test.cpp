// SPDX-License-Identifier: Apache-2.0
// The metrics count what clients hear and what a close gives back.
#include <deque>
#include <thread>

#include <gtest/gtest.h>

#include "support/cache_harness.hpp"
#include "support/exposition.hpp"
#include "support/http_client.hpp"

namespace pikv::test {
namespace {

constexpr std::uint32_t tokens = 600;

class request_counts : public testing::Test {
protected:
  static config::settings settings() {
    auto s = small_settings();
    s.cache = {8, dtype::f32, 3, 16, 8, 0};
    s.metrics.enabled = true;
    s.metrics.port = 0;
    return s;
  }

  void SetUp() override {
    h.plain_buffers = true;
    h.open();
    h.fill(0, 0, tokens);
  }

  /// The series' value once it is `expected`, else the one after some ticks.
  double value(const std::string& series, double expected) {
    double x = -1;
    for (int i = 0; i < 100 && x != expected; ++i) {
      x = read_exposition(http_get(h.run().status().metrics_port, "/metrics").body)[series];
      std::this_thread::sleep_for(std::chrono::milliseconds{50});
    }
    return x;
  }

  /// Sends many long attends at once; how many ended with this code.
  double ended_with(errc code, attend_options options) {
    std::deque<pending_attend> sent;
    for (int i = 0; i < 50; ++i)
      sent.push_back(h.attend(0, {{0, tokens - 400, 400}}, options));
    double n = 0;
    for (const auto& x : sent)
      n += x.done.wait().code() == code ? 1 : 0;
    return n;
  }

  cache_harness h{settings(), {1, 4, 2, 32, 0}, 5};
};

TEST_F(request_counts, refused_at_the_limit_are_counted) {
  auto s = h.run().settings();
  s.limits.max_in_flight = 1;
  ASSERT_TRUE(h.run().reload(s).wait().ok());
  // A busy machine may serve each one before the next comes: so again, until some meet.
  double refused = 0;
  for (int i = 0; i < 100 && refused == 0; ++i)
    refused = ended_with(errc::overloaded, {});
  ASSERT_GT(refused, 0);
  EXPECT_EQ(value("pikv_router_overloaded_total{lane=\"0\"}", refused), refused);
}

TEST_F(request_counts, missed_deadlines_are_counted_wherever_they_pass) {
  attend_options options;
  options.deadline = std::chrono::microseconds{1};
  const auto missed = ended_with(errc::deadline_exceeded, options);
  ASSERT_GT(missed, 0);
  EXPECT_EQ(value("pikv_router_deadline_missed_total{lane=\"0\"}", missed), missed);
  EXPECT_EQ(value("pikv_router_requests_ended_total{code=\"deadline_exceeded\",kind=\"attend\"}",
                  missed),
            missed);
}

TEST_F(request_counts, pages_go_free_with_the_last_sequence_that_holds_them) {
  const auto usage = h.kv().usage().wait();
  ASSERT_TRUE(usage.ok());
  const auto settled = static_cast<double>(usage->pages_settled);
  ASSERT_GT(settled, 0);
  const auto fork = h.kv().fork(h.sequences[0].id).wait();
  ASSERT_TRUE(fork.ok());
  const std::string freed = "pikv_owner_pages_freed_total{device=\"0\"}";
  ASSERT_TRUE(h.kv().close(h.sequences[0].id).wait().ok());
  EXPECT_EQ(value(freed, 0), 0);
  ASSERT_TRUE(h.kv().close(*fork).wait().ok());
  EXPECT_EQ(value(freed, settled), settled);
}

} // namespace
} // namespace pikv::test
