// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/task_span.hpp>

#include <memory>
#include <optional>
#include <vector>

#include "device_fixture.hpp"
#include "support/trace_spans.hpp"

namespace pikv::gpu::cuda {
namespace {

using test::expect_cuda;
using test::spans_of;
using test::written_trace;

constexpr std::size_t bytes = std::size_t{256} << 20; // 100 us and more to fill

/// How far the GPU's clock may seem to be from the host's, in ns.
constexpr std::int64_t tolerance = 100'000;

class task_spans : public test::gpu_test {
protected:
  void SetUp() override {
    gpu_test::SetUp();
    if (IsSkipped())
      return;
    expect_cuda(cudaSetDevice(0));
    expect_cuda(cudaStreamCreate(&stream_));
    memory_.emplace(bytes);
  }
  void TearDown() override {
    trace::stop();
    if (stream_ != nullptr)
      expect_cuda(cudaStreamDestroy(stream_));
  }

  void enqueue(task_span& span, const char* label) {
    span.begin(label, stream_);
    expect_cuda(cudaMemsetAsync(memory_->data(), 0, bytes, stream_));
    span.end(stream_);
  }
  void wait() { expect_cuda(cudaStreamSynchronize(stream_)); }

  cudaStream_t stream_ = nullptr;
  std::optional<test::device_array<std::byte>> memory_;
  const gpu_timeline line_{0, "test"};
  const trace::track host_{"host"};
};

TEST_F(task_spans, are_nothing_while_tracing_is_off) {
  task_span span(line_);
  enqueue(span, "fill");
  wait();
  trace::start();
  span.report();
  EXPECT_EQ(trace::count().kept, 0U);
}

TEST_F(task_spans, lie_between_what_the_host_saw_before_and_after) {
  trace::start();
  {
    task_span first(line_); // starts the clocks
    enqueue(first, "first");
    wait();
  }
  for (int i = 0; i < 20; ++i) {
    task_span span(line_);
    const trace::scope outer(host_, "outer");
    enqueue(span, "fill");
    wait();
    span.report();
  }
  const auto file = written_trace();
  const auto inner = spans_of(file, "test on GPU 0"), outer = spans_of(file, "host");
  ASSERT_EQ(inner.size(), 20U);
  ASSERT_EQ(outer.size(), 20U);
  for (std::size_t i = 0; i < inner.size(); ++i) {
    EXPECT_GE(inner[i].begin, outer[i].begin - tolerance);
    EXPECT_LE(inner[i].end, outer[i].end + tolerance);
    EXPECT_GT(inner[i].end - inner[i].begin, 20'000); // nothing writes 256 MiB in 20 us
  }
}

TEST_F(task_spans, of_tasks_queued_ahead_follow_one_another) {
  trace::start();
  std::vector<task_span> spans;
  for (int i = 0; i < 50; ++i)
    enqueue(spans.emplace_back(line_), "fill");
  wait();
  for (auto& x : spans)
    x.report();
  const auto seen = spans_of(written_trace(), "test on GPU 0");
  ASSERT_EQ(seen.size(), 50U);
  for (std::size_t i = 1; i < seen.size(); ++i)
    EXPECT_LE(seen[i - 1].end, seen[i].begin + 1); // each is rounded to nanoseconds
}

TEST_F(task_spans, are_missing_when_they_were_not_ended_or_not_reported) {
  trace::start();
  task_span unended(line_), unreported(line_);
  unended.begin("unended", stream_);
  enqueue(unreported, "unreported");
  wait();
  unended.report();
  unended.end(stream_);
  EXPECT_EQ(trace::count().kept, 0U);
}

TEST_F(task_spans, outlive_their_timeline_and_move) {
  trace::start();
  auto line = std::make_unique<gpu_timeline>(0, "gone");
  task_span span(*line);
  enqueue(span, "fill");
  line.reset();
  wait();
  task_span elsewhere = std::move(span);
  elsewhere.report();
  EXPECT_EQ(spans_of(written_trace(), "gone on GPU 0").size(), 1U);
}

} // namespace
} // namespace pikv::gpu::cuda
