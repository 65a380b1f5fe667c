// SPDX-License-Identifier: Apache-2.0
// Deadlines that pass before, while and after an attention runs.
#include <cstdio>
#include <optional>
#include <utility>

#include "actors/fault_client.hpp"
#include <pikv/actors/runtime.hpp>

namespace {

using namespace pikv;
using namespace pikv::test;

constexpr std::uint32_t tokens = 8000, rows = 4;

class deadlines : public ::testing::TestWithParam<std::pair<const char*, std::uint32_t>> {
protected:
  void SetUp() override {
    auto s = fault_settings();
    s.selection = {GetParam().first, {}};
    s.devices.count = GetParam().second;
    s.devices.memory_bytes = std::uint64_t{64} << 20;
    auto r = runtime::start(s);
    ASSERT_TRUE(r.ok()) << r.error().what;
    running.emplace(std::move(*r));
    kv.emplace(*running->open(fault_shape));
    id = *kv->open();
    std::vector<float> x(tokens * f.kv_heads * f.head_dim);
    std::mt19937 random{1};
    std::ranges::generate(x, [&] { return std::uniform_real_distribution<float>{-1, 1}(random); });
    const batch_part all{id, 0, tokens};
    const auto t = nhd(std::as_const(x), tokens, f.kv_heads, f.head_dim);
    auto done = kv->append(0, {&all, 1}, t, t);
    ASSERT_TRUE(done.wait().ok()) << done.wait().error().what;
  }

  struct buffers {
    std::vector<float> q = std::vector<float>(rows * f.query_heads * f.head_dim, 0.5F);
    std::vector<float> out = q;
  };
  completion<attend_report> attend(buffers& b, std::chrono::nanoseconds deadline) {
    const batch_part last{id, tokens - rows, rows};
    attend_options o;
    o.deadline = deadline;
    return kv->attend(0, {&last, 1}, nhd(std::as_const(b.q), rows, f.query_heads, f.head_dim),
                      nhd(b.out, rows, f.query_heads, f.head_dim), o);
  }

  static constexpr model_shape f = fault_shape;
  std::optional<runtime> running;
  std::optional<cache> kv;
  sequence_id id{};
};

TEST_P(deadlines, tiny_ones_end_with_a_result_or_an_error_and_let_go_of_the_buffers) {
  std::mt19937 random{2};
  int ok = 0, late = 0;
  for (int i = 0; i < 400; ++i) {
    auto b = std::make_unique<buffers>();
    std::atomic<int> heard{0};
    // From 1 us to about 10 ms: before, while and after the work.
    const auto deadline = std::chrono::nanoseconds{1000LL << (random() % 14)};
    auto done = attend(*b, deadline);
    done.then([&](const auto&) { ++heard; });
    const auto* r = wait_at_most(done, 5s);
    ASSERT_NE(r, nullptr) << "an attend did not end";
    std::ranges::fill(b->out, canary);
    b.reset(); // an address sanitizer sees a late write
    ASSERT_TRUE(r->ok() || r->code() == errc::deadline_exceeded) << r->error().what;
    ++(r->ok() ? ok : late);
    ASSERT_EQ(heard, 1);
  }
  std::printf("deadlines: %d in time, %d late\n", ok, late);
  EXPECT_GT(late, 0) << "no deadline passed: nothing was tested";
  EXPECT_TRUE(eventually([&] { return running->status().in_flight == 0; }, 5s));
}

TEST_P(deadlines, outputs_are_left_alone_after_a_late_end) {
  std::vector<std::unique_ptr<buffers>> all;
  for (int i = 0; i < 100; ++i) {
    auto& b = *all.emplace_back(std::make_unique<buffers>());
    auto done = attend(b, 1us);
    ASSERT_NE(wait_at_most(done, 5s), nullptr);
    std::ranges::fill(b.out, canary);
  }
  buffers b;
  ASSERT_TRUE(attend(b, 10s).wait().ok()); // in the same streams, after all of them
  for (const auto& x : all)
    EXPECT_TRUE(std::ranges::all_of(x->out, [](float y) { return y == canary; }));
}

TEST_P(deadlines, late_requests_leave_no_memory_behind) {
  buffers b;
  ASSERT_TRUE(attend(b, 10s).wait().ok());
  for (int i = 0; i < 100; ++i)
    ASSERT_NE(wait_at_most(attend(b, 1us * (i + 1)), 5s), nullptr);
  auto closed = kv->close(id);
  ASSERT_TRUE(closed.wait().ok());
  EXPECT_TRUE(eventually(
      [&] {
        auto s = running->status();
        return std::ranges::all_of(s.devices,
                                   [](const auto& d) { return d.memory_reserved_bytes == 0; });
      },
      5s));
}

INSTANTIATE_TEST_SUITE_P(all, deadlines,
                         ::testing::Values(std::pair{"all", 1U}, std::pair{"mass", 1U},
                                           std::pair{"all", 3U}, std::pair{"mass", 3U}),
                         [](const auto& x) {
                           return std::string{x.param.first} + "_on_"
                                  + std::to_string(x.param.second);
                         });

} // namespace
