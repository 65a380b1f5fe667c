// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/host/host_stream.hpp>
#include <pikv/gpu/trace.hpp>

#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "support/trace_spans.hpp"

namespace pikv::gpu {
namespace {

using namespace std::chrono_literals;
using test::spans_of;
using test::written_trace;

std::unique_ptr<stream> stream_named(std::string name) {
  return std::make_unique<host_stream>(
      std::make_shared<serial_executor>(),
      host_stream::options{.name = std::move(name), .spin = 0us, .fault = {}});
}

class trace_file : public testing::Test {
protected:
  void TearDown() override { trace::stop(); }
};

TEST_F(trace_file, is_an_object_of_complete_events_and_names) {
  trace::start();
  const auto s = stream_named("first");
  s->enqueue([](executor&) {}, {}, "append");
  s->synchronize();
  const auto file = written_trace();
  std::size_t processes = 0;
  for (const auto& x : file.at("traceEvents")) {
    EXPECT_TRUE(x.at("pid").is_number_integer() && x.at("tid").is_number_integer());
    processes += x.at("name") == "process_name" && x.at("ph") == "M";
  }
  EXPECT_EQ(processes, 1U);
  ASSERT_EQ(spans_of(file, "first").size(), 1U);
  EXPECT_EQ(spans_of(file, "first")[0].label, "append");
}

TEST_F(trace_file, has_names_with_quotes_and_control_characters) {
  trace::start();
  const trace::track odd("a \"b\"\\\n\x01");
  odd.add("l\"", trace::clock::now(), trace::clock::now());
  const auto spans = spans_of(written_trace(), "a \"b\"\\\n\x01");
  ASSERT_EQ(spans.size(), 1U);
  EXPECT_EQ(spans[0].label, "l\"");
}

TEST_F(trace_file, spans_of_one_stream_follow_one_another) {
  trace::start();
  const auto s = stream_named("line");
  for (int i = 0; i < 200; ++i)
    s->enqueue([](executor&) {}, {}, i % 2 == 0 ? "even" : "odd");
  s->synchronize();
  const auto spans = spans_of(written_trace(), "line");
  ASSERT_EQ(spans.size(), 200U);
  for (std::size_t i = 0; i < spans.size(); ++i) {
    EXPECT_EQ(spans[i].label, i % 2 == 0 ? "even" : "odd");
    EXPECT_LE(spans[i].begin, spans[i].end);
    if (i > 0) {
      EXPECT_LE(spans[i - 1].end, spans[i].begin + 1); // each is rounded to nanoseconds
    }
  }
}

TEST_F(trace_file, spans_of_two_streams_overlap_when_their_tasks_meet) {
  trace::start();
  const auto a = stream_named("a"), b = stream_named("b");
  std::latch both(2);
  for (auto* s : {a.get(), b.get()})
    s->enqueue([&](executor&) { both.arrive_and_wait(); }, {}, "meet");
  a->synchronize();
  b->synchronize();
  const auto file = written_trace();
  const auto at_a = spans_of(file, "a"), at_b = spans_of(file, "b");
  ASSERT_EQ(at_a.size(), 1U);
  ASSERT_EQ(at_b.size(), 1U);
  EXPECT_LE(at_a[0].begin, at_b[0].end);
  EXPECT_LE(at_b[0].begin, at_a[0].end);
}

TEST_F(trace_file, a_wait_for_an_event_is_a_span_that_ends_after_the_work_waited_for) {
  trace::start();
  const auto a = stream_named("a"), b = stream_named("b");
  std::latch go(1);
  a->enqueue([&](executor&) { go.wait(); }, {}, "held");
  b->wait(a->record());
  b->enqueue([](executor&) {}, {}, "after");
  go.count_down();
  b->synchronize();
  const auto file = written_trace();
  const auto held = spans_of(file, "a"), later = spans_of(file, "b");
  ASSERT_EQ(held.size(), 1U);
  ASSERT_EQ(later.size(), 2U);
  EXPECT_EQ(later[0].label, "wait");
  EXPECT_EQ(later[1].label, "after");
  EXPECT_LE(held[0].end, later[0].end + 1);
}

TEST_F(trace_file, says_how_many_spans_found_no_room) {
  trace::start(3);
  const auto s = stream_named("full");
  for (int i = 0; i < 10; ++i)
    s->enqueue([](executor&) {}, {}, "task");
  s->synchronize();
  EXPECT_EQ(trace::count().kept, 3U);
  EXPECT_EQ(trace::count().dropped, 7U);
  const auto file = written_trace();
  EXPECT_EQ(spans_of(file, "full").size(), 3U);
  EXPECT_EQ(file.at("otherData").at("dropped_spans"), 7);
}

TEST_F(trace_file, has_nothing_of_before_the_start_and_after_the_stop) {
  const auto s = stream_named("gated");
  const auto run = [&](const char* label) {
    s->enqueue([](executor&) {}, {}, label);
    s->synchronize();
  };
  EXPECT_FALSE(trace::on());
  run("before");
  trace::start();
  EXPECT_EQ(trace::count().kept, 0U);
  run("during");
  trace::stop();
  run("after");
  const auto spans = spans_of(written_trace(), "gated");
  ASSERT_EQ(spans.size(), 1U);
  EXPECT_EQ(spans[0].label, "during");
}

TEST_F(trace_file, has_no_span_that_began_before_the_start) {
  const auto early = trace::clock::now();
  const trace::track t("late");
  trace::start();
  t.add("across", early, trace::clock::now());
  EXPECT_EQ(trace::count().kept, 0U);
}

TEST_F(trace_file, a_second_start_forgets) {
  trace::start(1);
  const trace::track t("again");
  const auto add = [&] { t.add("x", trace::clock::now(), trace::clock::now()); };
  add();
  add();
  trace::start();
  EXPECT_EQ(trace::count().kept, 0U);
  EXPECT_EQ(trace::count().dropped, 0U);
  add();
  EXPECT_EQ(trace::count().kept, 1U);
}

TEST_F(trace_file, tracks_of_one_name_have_lines_of_their_own_while_they_live) {
  trace::start();
  const auto add = [](const trace::track& t, const char* label) {
    t.add(label, trace::clock::now(), trace::clock::now());
  };
  auto first = std::make_unique<trace::track>("twin");
  const trace::track second("twin");
  add(*first, "one");
  add(second, "two");
  first.reset();
  add(trace::track("twin"), "three");
  const auto file = written_trace();
  const auto of_first = spans_of(file, "twin"), of_second = spans_of(file, "twin #2");
  ASSERT_EQ(of_first.size(), 2U);
  ASSERT_EQ(of_second.size(), 1U);
  EXPECT_EQ(of_second[0].label, "two");
  EXPECT_TRUE(spans_of(file, "twin #3").empty());
}

TEST_F(trace_file, keeps_every_span_of_many_threads) {
  trace::start();
  constexpr int threads = 4, each = 1000;
  std::vector<std::thread> adders;
  for (int t = 0; t < threads; ++t)
    adders.emplace_back([t] {
      const trace::track own("thread " + std::to_string(t));
      for (int i = 0; i < each; ++i)
        const trace::scope span(own, "step");
    });
  for (auto& x : adders)
    x.join();
  EXPECT_EQ(trace::count().kept, std::size_t{threads * each});
}

} // namespace
} // namespace pikv::gpu
