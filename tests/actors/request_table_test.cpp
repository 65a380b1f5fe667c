// SPDX-License-Identifier: Apache-2.0
#include <thread>

#include <gtest/gtest.h>

#include <pikv/actors/request_table.hpp>

namespace {

using namespace pikv;
using namespace std::chrono_literals;

const error down{errc::actor_down, "the router went down"};

/// A request that counts what its client hears.
struct client {
  std::shared_ptr<request> asked = std::make_shared<request>();
  int heard = 0;
  errc code = errc::internal;

  explicit client(std::uint32_t lane = 0, std::uint64_t incarnation = 1,
                  request::clock::time_point deadline = request::clock::time_point::max()) {
    asked->lane = {lane};
    asked->incarnation = incarnation;
    asked->deadline = deadline;
    asked->publish = [this](result<request_outcome> x) {
      ++heard;
      code = x.code();
    };
  }
  client(const client&) = delete;
};

TEST(request_table, gives_every_request_a_ticket_of_its_own) {
  request_table t;
  client a, b;
  const auto x = t.add(a.asked), y = t.add(b.asked);
  EXPECT_NE(x, y);
  EXPECT_EQ(t.find(x), a.asked);
  EXPECT_EQ(t.find(y), b.asked);
}

TEST(request_table, a_ticket_is_never_zero_and_never_given_again) {
  request_table t;
  client a, b;
  const auto x = t.add(a.asked);
  EXPECT_NE(x.value, 0U);
  t.end(x, request_outcome{});
  EXPECT_NE(t.add(b.asked), x);
}

TEST(request_table, a_request_ends_once) {
  request_table t;
  client a;
  const auto x = t.add(a.asked);
  EXPECT_TRUE(t.end(x, request_outcome{}));
  EXPECT_FALSE(t.end(x, down));
  EXPECT_FALSE(a.asked->end(down));
  EXPECT_EQ(a.heard, 1);
  EXPECT_EQ(a.code, errc::ok);
}

TEST(request_table, forgets_what_ended) {
  request_table t;
  client a;
  const auto x = t.add(a.asked);
  EXPECT_EQ(t.size(), 1U);
  t.end(x, down);
  EXPECT_EQ(t.size(), 0U);
  EXPECT_EQ(t.find(x), nullptr);
}

TEST(request_table, an_unknown_ticket_cannot_be_ended) {
  request_table t;
  EXPECT_FALSE(t.end({7}, down));
}

TEST(request_table, the_sweep_ends_what_is_overdue_and_nothing_else) {
  request_table t;
  const auto now = request::clock::now();
  client past{0, 1, now - 1ns}, exactly{0, 1, now}, later{0, 1, now + 1ns};
  for (auto* c : {&past, &exactly, &later})
    t.add(c->asked);
  EXPECT_EQ(t.sweep(now), 2U);
  EXPECT_EQ(past.code, errc::deadline_exceeded);
  EXPECT_EQ(exactly.code, errc::deadline_exceeded);
  EXPECT_EQ(later.heard, 0);
}

TEST(request_table, end_lane_ends_what_an_earlier_router_had) {
  request_table t;
  client old{1, 4}, current{1, 5}, other{2, 4};
  for (auto* c : {&old, &current, &other})
    t.add(c->asked);
  EXPECT_EQ(t.end_lane({1}, 5, down), 1U);
  EXPECT_EQ(old.code, errc::actor_down);
  EXPECT_EQ(current.heard, 0);
  EXPECT_EQ(other.heard, 0);
}

TEST(request_table, end_all_ends_everything) {
  request_table t;
  client a, b{3, 2};
  t.add(a.asked);
  t.add(b.asked);
  EXPECT_EQ(t.end_all(down), 2U);
  EXPECT_EQ(a.heard + b.heard, 2);
  EXPECT_EQ(t.size(), 0U);
}

TEST(request_table, a_client_may_enter_a_request_while_it_hears) {
  request_table t;
  client a, next;
  a.asked->publish = [&](auto) { t.add(next.asked); };
  t.add(a.asked);
  t.end_all(down);
  EXPECT_EQ(t.size(), 1U);
}

TEST(request, a_pin_delays_what_the_client_hears) {
  client a;
  auto pin = a.asked->try_pin();
  EXPECT_TRUE(a.asked->end(down));
  EXPECT_EQ(a.heard, 0);
  pin = {};
  EXPECT_EQ(a.heard, 1);
  EXPECT_EQ(a.code, errc::actor_down);
}

TEST(request, the_last_of_several_pins_lets_the_client_hear) {
  client a;
  auto x = a.asked->try_pin(), y = a.asked->try_pin();
  a.asked->end(request_outcome{});
  x = {};
  EXPECT_EQ(a.heard, 0);
  y = {};
  EXPECT_EQ(a.heard, 1);
}

TEST(request, cannot_be_pinned_after_it_ended) {
  client a;
  auto first = a.asked->try_pin();
  a.asked->end(down);
  EXPECT_FALSE(a.asked->try_pin());
  EXPECT_EQ(a.heard, 0) << "a refused pin must not count";
}

TEST(request, a_second_end_does_not_replace_an_outcome_that_waits_for_a_pin) {
  client a;
  {
    auto pin = a.asked->try_pin();
    EXPECT_TRUE(a.asked->end(down));
    EXPECT_FALSE(a.asked->end(request_outcome{}));
  }
  EXPECT_EQ(a.heard, 1);
  EXPECT_EQ(a.code, errc::actor_down);
}

TEST(request, a_pin_that_moves_counts_once) {
  client a;
  auto x = a.asked->try_pin();
  auto y = std::move(x);
  x = {};
  a.asked->end(down);
  EXPECT_EQ(a.heard, 0);
  y = std::move(x);
  EXPECT_EQ(a.heard, 1);
}

TEST(request, pins_keep_the_request) {
  request::pin pin;
  std::weak_ptr<request> seen;
  {
    auto r = std::make_shared<request>();
    r->publish = [](auto) {};
    r->buffers.rows = 3;
    seen = r;
    pin = r->try_pin();
  }
  ASSERT_FALSE(seen.expired());
  EXPECT_EQ(pin.buffers().rows, 3U);
}

TEST(request, ends_once_whoever_races) {
  for (int round = 0; round < 200; ++round) {
    request_table t;
    std::atomic<int> heard{0}, won{0};
    auto r = std::make_shared<request>();
    r->publish = [&](auto) { ++heard; };
    r->deadline = request::clock::now();
    const auto ticket = t.add(r);
    {
      std::jthread sweep{[&] { won += static_cast<int>(t.sweep(request::clock::now())); }};
      std::jthread end{[&] { won += t.end(ticket, request_outcome{}) ? 1 : 0; }};
      std::jthread work{[&] { auto pin = r->try_pin(); }};
    }
    ASSERT_EQ(won, 1);
    ASSERT_EQ(heard, 1);
  }
}

} // namespace
