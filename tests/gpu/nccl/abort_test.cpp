// SPDX-License-Identifier: Apache-2.0
#include <thread>

#include "gpu/nccl/group_fixture.hpp"
#include "gpu/nccl/stream_gate.hpp"

namespace pikv {
namespace {

using namespace std::chrono_literals;

using gpu::transport::exchange;
using clock = std::chrono::steady_clock;

/// The last rank sends to the first: with one GPU to itself.
class nccl_abort : public test::nccl_test {
protected:
  using nccl_test::nccl_test;

  void SetUp() override {
    nccl_test::SetUp();
    if (IsSkipped() || HasFatalFailure())
      return;
    std::mt19937_64 rng(1);
    sent = test::random_bytes(rng, std::size_t{8} << 20);
    source = std::make_unique<test::gpu_bytes>(gpus.back(), sent);
    target = std::make_unique<test::gpu_bytes>(gpus.front(), sent.size());
    x = {ranks() - 1, 0, source->data(), target->data(), sent.size()};
  }
  void TearDown() override {
    for (auto* stream : streams)
      cudaStreamSynchronize(stream);
    nccl_test::TearDown();
  }

  /// The sender's stream is held up, so that the receiver's kernel waits for a sender in vain.
  void expect_deadline_then_recovery() {
    test::stream_gate held(streams.back());
    ASSERT_TRUE(group->exchange_all({&x, 1}, streams).ok());
    const auto began = clock::now();
    const auto r = group->wait(streams, began + 300ms);
    const auto took = clock::now() - began;
    EXPECT_EQ(r.code(), errc::deadline_exceeded);
    EXPECT_GE(took, 300ms);
    EXPECT_LT(took, 5s); // the deadline, and what abort may take
    expect_aborted();
    held.open();
    expect_works_after_reinit();
  }

  void expect_aborted() {
    EXPECT_FALSE(group->usable());
    EXPECT_EQ(group->exchange_all({&x, 1}, streams).code(), errc::cancelled);
    EXPECT_EQ(group->poll().code(), errc::cancelled);
    EXPECT_EQ(group->wait(streams, clock::now() + 1s).code(), errc::cancelled);
  }

  void expect_works_after_reinit() {
    const auto again = group->reinit();
    ASSERT_TRUE(again.ok()) << again.error().what;
    const auto r = exchange_and_wait({&x, 1});
    ASSERT_TRUE(r.ok()) << r.error().what;
    EXPECT_TRUE(target->download() == sent);
  }

  test::bytes sent;
  std::unique_ptr<test::gpu_bytes> source, target;
  exchange x;
};

class nccl_abort_of_two : public nccl_abort {
protected:
  nccl_abort_of_two() : nccl_abort(2) {}
};

TEST_F(nccl_abort, a_held_up_exchange_ends_at_its_deadline) { expect_deadline_then_recovery(); }

TEST_F(nccl_abort_of_two, a_receive_whose_sender_is_held_up_ends_at_its_deadline) {
  expect_deadline_then_recovery();
}

TEST_F(nccl_abort_of_two, the_receivers_stream_is_free_while_the_sender_is_held_up) {
  test::stream_gate held(streams.back());
  ASSERT_TRUE(group->exchange_all({&x, 1}, streams).ok());
  EXPECT_EQ(group->wait(streams, clock::now() + 300ms).code(), errc::deadline_exceeded);
  for (const auto limit = clock::now() + 10s;
       cudaStreamQuery(streams.front()) == cudaErrorNotReady && clock::now() < limit;)
    continue;
  EXPECT_EQ(cudaStreamQuery(streams.front()), cudaSuccess);
}

TEST_F(nccl_abort, an_idle_group_can_be_aborted_and_built_anew) {
  group->abort();
  group->abort();
  expect_aborted();
  expect_works_after_reinit();
}

TEST_F(nccl_abort, reinit_of_a_group_in_use_builds_it_anew) { expect_works_after_reinit(); }

TEST_F(nccl_abort, reinit_says_so_while_a_stream_holds_what_was_aborted) {
  test::stream_gate held(streams.back());
  ASSERT_TRUE(group->exchange_all({&x, 1}, streams).ok());
  group->abort();
  EXPECT_EQ(group->reinit().code(), errc::deadline_exceeded);
  held.open();
  expect_works_after_reinit();
}

TEST_F(nccl_abort, a_group_with_exchanges_in_flight_can_be_destroyed) {
  test::stream_gate held(streams.back());
  ASSERT_TRUE(group->exchange_all({&x, 1}, streams).ok());
  const auto began = clock::now();
  group.reset();
  EXPECT_LT(clock::now() - began, 5s);
  held.open();
  std::this_thread::sleep_for(2s); // NCCL frees the group now; the program must not end meanwhile
}

} // namespace
} // namespace pikv
