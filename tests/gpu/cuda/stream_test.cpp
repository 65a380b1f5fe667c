// SPDX-License-Identifier: Apache-2.0
// Streams that run ahead of the GPU: what a caller may rely on.
#include <atomic>
#include <chrono>
#include <cstring>
#include <future>
#include <numeric>

#include <pikv/gpu/cuda/driver.hpp>
#include <pikv/gpu/cuda/launch_queue.hpp>
#include <pikv/gpu/device.hpp>

#include "gpu/cuda/device_fixture.hpp"

namespace pikv {
namespace {

using gpu::executor;
using gpu::cuda::queue_of;

class cuda_stream : public test::gpu_test {
protected:
  void SetUp() override {
    test::gpu_test::SetUp();
    if (IsSkipped())
      return;
    auto made = gpu::make_device("cuda", {.memory_bytes = std::size_t{64} << 20});
    ASSERT_TRUE(made.ok()) << made.error().what;
    device_ = std::move(*made);
    slow_ = std::make_unique<test::device_array<std::byte>>(std::size_t{1} << 30);
  }

  std::unique_ptr<gpu::stream> make() {
    auto s = device_->make_stream(gpu::stream_role::compute);
    EXPECT_NE(s, nullptr);
    return s;
  }

  /// Some milliseconds of work.
  void dawdle(executor& x) const {
    for (int i = 0; i < 20; ++i)
      test::expect_cuda(cudaMemsetAsync(slow_->data(), i, slow_->size(), queue_of(x).stream()));
  }

  std::shared_ptr<gpu::device> device_;
  std::unique_ptr<test::device_array<std::byte>> slow_;
};

TEST_F(cuda_stream, calls_the_next_task_while_the_gpu_is_at_the_last_one) {
  auto s = make();
  std::atomic<bool> first_ended{false};
  std::promise<bool> ended_before_second;
  s->enqueue([this](executor& x) { dawdle(x); },
             [&](const result<void>& r) { first_ended = r.ok(); });
  s->enqueue([&](executor&) { ended_before_second.set_value(first_ended.load()); });
  EXPECT_FALSE(ended_before_second.get_future().get());
  s.reset();
  EXPECT_TRUE(first_ended);
}

TEST_F(cuda_stream, keeps_a_task_until_the_gpu_has_done_it_and_drops_it_before_the_completion) {
  auto s = make();
  auto held = std::make_shared<int>(0);
  const std::weak_ptr<int> watch = held;
  std::promise<void> called;
  std::promise<bool> gone;
  s->enqueue(
      [this, held = std::move(held), &called](executor& x) {
        dawdle(x);
        called.set_value();
      },
      [&](const result<void>&) { gone.set_value(watch.expired()); });
  called.get_future().wait();
  EXPECT_FALSE(watch.expired());
  EXPECT_TRUE(gone.get_future().get());
}

TEST_F(cuda_stream, lets_the_host_read_results_when_done) {
  auto s = make();
  auto block = device_->scratch().allocate(4096);
  ASSERT_TRUE(block.ok());
  auto* word = block->data();
  *word = std::byte{0};
  std::promise<std::byte> seen;
  s->enqueue([this, word, &seen](executor& x) {
    dawdle(x);
    test::expect_cuda(cudaMemsetAsync(word, 7, 1, queue_of(x).stream()));
    x.when_done([word, &seen] { seen.set_value(*word); });
  });
  EXPECT_EQ(seen.get_future().get(), std::byte{7});
}

TEST_F(cuda_stream, completes_in_order_and_each_task_once) {
  auto s = make();
  std::vector<int> order; // the poller's thread only
  constexpr int n = 5000;
  for (int i = 0; i < n; ++i)
    s->enqueue(
        [](executor& x) {
          auto& q = queue_of(x);
          const std::vector<std::byte> some(3000); // the staging ring goes round several times
          q.upload(std::span{some});
          EXPECT_TRUE(q.flush().ok());
        },
        [&order, i](const result<void>& r) { order.push_back(r.ok() ? i : -1); });
  s.reset(); // waits for all completions
  std::vector<int> want(n);
  std::iota(want.begin(), want.end(), 0);
  EXPECT_EQ(order, want);
}

TEST_F(cuda_stream, an_event_orders_the_work_of_two_streams) {
  auto first = make(), second = make();
  test::device_array<std::byte> cell(1);
  auto out = device_->scratch().allocate(64);
  ASSERT_TRUE(out.ok());
  for (int round = 1; round < 20; ++round) {
    first->enqueue([&, round](executor& x) {
      dawdle(x);
      test::expect_cuda(cudaMemsetAsync(cell.data(), round, 1, queue_of(x).stream()));
    });
    second->wait(first->record());
    std::promise<std::byte> got;
    second->enqueue([&](executor& x) {
      test::expect_cuda(
          cudaMemcpyAsync(out->data(), cell.data(), 1, cudaMemcpyDefault, queue_of(x).stream()));
      x.when_done([&] { got.set_value(*out->data()); });
    });
    ASSERT_EQ(got.get_future().get(), static_cast<std::byte>(round));
    first->wait(second->record()); // the cell is read before it is written again
  }
}

TEST_F(cuda_stream, a_task_that_throws_ends_with_an_error_and_the_stream_goes_on) {
  auto s = make();
  std::promise<errc> thrown, next;
  s->enqueue([](executor&) { throw std::runtime_error("seven of nine"); },
             [&](const result<void>& r) { thrown.set_value(r.code()); });
  s->enqueue([](executor&) {}, [&](const result<void>& r) { next.set_value(r.code()); });
  EXPECT_EQ(thrown.get_future().get(), errc::internal);
  EXPECT_EQ(next.get_future().get(), errc::ok);
}

TEST_F(cuda_stream, gives_more_than_its_rings_hold_while_another_stream_waits_for_the_task) {
  auto s = make();
  cudaStream_t engine = nullptr;
  test::expect_cuda(cudaStreamCreateWithFlags(&engine, cudaStreamNonBlocking));
  std::uint32_t* written = nullptr;
  test::expect_cuda(
      cudaHostAlloc(reinterpret_cast<void**>(&written), sizeof *written, cudaHostAllocMapped));
  *written = 0;
  ASSERT_TRUE(gpu::cuda::wait_value(engine, written, 1).ok());
  constexpr std::size_t n = std::size_t{6} << 20;
  std::promise<bool> right;
  auto outcome = right.get_future();
  s->enqueue([&](executor& x) {
    auto& q = queue_of(x);
    std::vector<std::byte> some(n);
    for (std::size_t i = 0; i < n; ++i)
      some[i] = static_cast<std::byte>(i * 7 + i / 4096);
    const auto* up = q.upload(std::span<const std::byte>{some});
    auto* out = q.reserve(n);
    auto* between = q.work(std::size_t{48} << 20);
    EXPECT_TRUE(q.flush().ok());
    test::expect_cuda(cudaMemcpyAsync(between, up, n, cudaMemcpyDeviceToDevice, q.stream()));
    test::expect_cuda(cudaMemcpyAsync(out, between, n, cudaMemcpyDeviceToDevice, q.stream()));
    const auto back = q.fetch(out, n);
    right.set_value(back.ok() && std::memcmp(*back, some.data(), n) == 0);
  });
  const auto status = outcome.wait_for(std::chrono::seconds{10});
  *written = 1; // so that a failure ends too
  EXPECT_EQ(status, std::future_status::ready);
  EXPECT_TRUE(outcome.get());
  s.reset();
  test::expect_cuda(cudaStreamSynchronize(engine));
  test::expect_cuda(cudaStreamDestroy(engine));
  test::expect_cuda(cudaFreeHost(written));
}

TEST_F(cuda_stream, may_go_with_its_own_completion) {
  auto s = make();
  auto* raw = s.get();
  std::promise<void> over;
  auto holder = std::make_shared<std::unique_ptr<gpu::stream>>(std::move(s));
  raw->enqueue([this](executor& x) { dawdle(x); },
               [holder, &over](const result<void>&) {
                 holder->reset();
                 over.set_value();
               });
  holder.reset();
  over.get_future().wait();
}

} // namespace
} // namespace pikv
