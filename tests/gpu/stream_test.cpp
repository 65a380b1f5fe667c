// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/host/host_device.hpp>
#include <pikv/gpu/host/host_stream.hpp>

#include <atomic>
#include <future>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace pikv::gpu {
namespace {

using namespace std::chrono_literals;

std::unique_ptr<stream> make_test_stream(std::chrono::microseconds spin = 50us) {
  return std::make_unique<host_stream>(
      std::make_shared<serial_executor>(),
      host_stream::options{.name = "test", .spin = spin, .fault = {}});
}

/// A task that holds its stream until it is let go.
struct gate {
  std::promise<void> open;
  stream::task task() {
    return [f = open.get_future().share()](executor&) { f.wait(); };
  }
};

TEST(stream, runs_tasks_in_the_order_of_enqueue) {
  for (const auto spin : {0us, 50us}) {
    const auto s = make_test_stream(spin);
    std::vector<int> seen, expected;
    for (int i = 0; i < 1000; ++i) {
      expected.push_back(i);
      s->enqueue([&seen, i](executor&) { seen.push_back(i); });
    }
    s->synchronize();
    EXPECT_EQ(seen, expected);
  }
}

TEST(stream, calls_each_completion_once_right_after_its_task) {
  const auto s = make_test_stream();
  std::vector<int> seen;
  for (int i = 0; i < 3; ++i)
    s->enqueue([&seen, i](executor&) { seen.push_back(i); },
               [&seen, i](const result<void>& x) { seen.push_back(x.ok() ? 10 + i : -1); });
  s->synchronize();
  EXPECT_EQ(seen, (std::vector<int>{0, 10, 1, 11, 2, 12}));
}

TEST(stream, a_task_that_throws_is_reported_as_internal_and_the_next_one_runs) {
  const auto s = make_test_stream();
  std::vector<error> seen;
  const auto keep = [&](const result<void>& x) { seen.push_back(x.ok() ? error{} : x.error()); };
  s->enqueue([](executor&) { throw std::runtime_error("seven of nine"); }, keep);
  s->enqueue([](executor&) { throw 7; }, keep);
  s->enqueue({}, keep);
  s->enqueue([](executor&) {}, keep);
  s->synchronize();
  ASSERT_EQ(seen.size(), 4U);
  EXPECT_EQ(seen[0].code, errc::internal);
  EXPECT_NE(seen[0].what.find("seven of nine"), std::string::npos);
  EXPECT_EQ(seen[1].code, errc::internal);
  EXPECT_EQ(seen[2].code, errc::internal);
  EXPECT_EQ(seen[3].code, errc::ok);
}

TEST(stream, lives_on_after_a_completion_that_throws) {
  const auto s = make_test_stream();
  bool ran = false;
  s->enqueue([](executor&) {}, [](const result<void>&) { throw std::runtime_error("no"); });
  s->enqueue([&](executor&) { ran = true; });
  s->synchronize();
  EXPECT_TRUE(ran);
}

TEST(stream, what_a_task_holds_is_gone_when_its_completion_runs) {
  const auto s = make_test_stream();
  auto held = std::make_shared<int>(1);
  const std::weak_ptr<int> watch = held;
  bool gone = false;
  s->enqueue([held = std::move(held)](executor&) {},
             [&](const result<void>&) { gone = watch.expired(); });
  s->synchronize();
  EXPECT_TRUE(gone);
}

TEST(stream, its_end_waits_for_all_work) {
  int ran = 0;
  {
    const auto s = make_test_stream();
    for (int i = 0; i < 100; ++i)
      s->enqueue([&](executor&) { ++ran; });
  }
  EXPECT_EQ(ran, 100);
}

TEST(stream, its_last_handle_may_go_in_its_own_task) {
  const auto after = std::make_shared<std::promise<void>>();
  auto ended = after->get_future();
  auto s = std::shared_ptr<stream>(make_test_stream());
  stream* raw = s.get();
  gate g;
  raw->enqueue(g.task());
  raw->enqueue([s = std::move(s)](executor&) mutable { s.reset(); });
  raw->enqueue([after](executor&) { after->set_value(); });
  g.open.set_value();
  ended.wait();
}

TEST(stream, counts_its_tasks_and_the_time_they_took) {
  const auto s = make_test_stream();
  s->enqueue([](executor&) { std::this_thread::sleep_for(5ms); });
  s->enqueue([](executor&) {});
  s->synchronize();
  EXPECT_EQ(s->usage().tasks, 2U);
  EXPECT_GE(s->usage().busy, 5ms);
}

TEST(event, an_empty_one_is_done_and_was_not_recorded) {
  EXPECT_TRUE(event{}.done());
  EXPECT_FALSE(event{}.recorded());
}

TEST(event, is_done_after_the_work_before_it_and_not_earlier) {
  const auto s = make_test_stream();
  gate g;
  s->enqueue(g.task());
  const event e = s->record();
  EXPECT_TRUE(e.recorded());
  EXPECT_FALSE(e.done());
  g.open.set_value();
  s->synchronize();
  EXPECT_TRUE(e.done());
}

TEST(event, holds_later_work_of_the_waiting_stream_only) {
  const auto first = make_test_stream();
  const auto second = make_test_stream(0us);
  const auto third = make_test_stream();
  gate g;
  std::atomic<int> ran{0};
  first->enqueue(g.task());
  second->wait(first->record());
  second->enqueue([&](executor&) { ++ran; });
  third->enqueue([&](executor&) { ran += 10; });
  third->synchronize();
  std::this_thread::sleep_for(2ms);
  EXPECT_EQ(ran, 10);
  g.open.set_value();
  second->synchronize();
  EXPECT_EQ(ran, 11);
}

TEST(event, of_the_same_stream_does_not_hold_it) {
  const auto s = make_test_stream();
  gate g;
  s->enqueue(g.task());
  s->wait(s->record());
  bool ran = false;
  s->enqueue([&](executor&) { ran = true; });
  g.open.set_value();
  s->synchronize();
  EXPECT_TRUE(ran);
}

TEST(event, becomes_done_when_its_stream_ends_first) {
  const auto waiting = make_test_stream();
  auto other = make_test_stream();
  other->enqueue([](executor&) { std::this_thread::sleep_for(1ms); });
  waiting->wait(other->record());
  bool ran = false;
  waiting->enqueue([&](executor&) { ran = true; });
  other.reset();
  waiting->synchronize();
  EXPECT_TRUE(ran);
}

TEST(stream, synchronize_on_its_own_thread_returns) {
  const auto s = make_test_stream();
  bool ran = false;
  s->enqueue([&](executor&) {
    s->synchronize();
    ran = true;
  });
  s->synchronize();
  EXPECT_TRUE(ran);
}

/// Streams write one after the other into plain memory; only events order them.
TEST(stream, events_order_plain_memory_between_streams) {
  for (const auto spin : {0us, 50us}) {
    std::vector<std::unique_ptr<stream>> streams;
    for (int i = 0; i < 3; ++i)
      streams.push_back(make_test_stream(spin));
    std::vector<int> log; // unsynchronised on purpose
    event last;
    std::mt19937 random(11);
    for (int i = 0; i < 3000; ++i) {
      stream& s = *streams[random() % streams.size()];
      s.wait(last);
      s.enqueue([&log, i](executor&) { log.push_back(i); });
      last = s.record();
    }
    streams.clear();
    ASSERT_EQ(log.size(), 3000U);
    EXPECT_TRUE(std::is_sorted(log.begin(), log.end()));
  }
}

TEST(stream, many_threads_enqueue_and_nothing_is_lost_or_reordered_per_thread) {
  for (const auto spin : {0us, 50us}) {
    const auto s = make_test_stream(spin);
    constexpr int threads = 4;
    constexpr int each = 3000;
    std::vector<int> next(threads, 0); // only the stream's thread touches it
    std::atomic<int> completions{0};
    int wrong = 0;
    std::vector<std::thread> clients;
    for (std::size_t t = 0; t < threads; ++t)
      clients.emplace_back([&, t] {
        for (int i = 0; i < each; ++i)
          s->enqueue([&, t, i](executor&) { wrong += next[t]++ != i; },
                     [&](const result<void>& x) { completions += x.ok(); });
      });
    for (auto& x : clients)
      x.join();
    s->synchronize();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(completions, threads * each);
    EXPECT_EQ(s->usage().tasks, std::uint64_t{threads * each});
  }
}

} // namespace
} // namespace pikv::gpu
