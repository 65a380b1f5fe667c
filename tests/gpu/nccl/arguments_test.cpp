// SPDX-License-Identifier: Apache-2.0
#include "gpu/nccl/group_fixture.hpp"

namespace pikv {
namespace {

using namespace std::chrono_literals;

using gpu::transport::exchange;
using gpu::transport::nccl_group;

class nccl_arguments : public test::nccl_test {
protected:
  errc code_of(const exchange& x) { return group->exchange_all({&x, 1}, streams).code(); }
};

TEST(nccl_group_without_gpus, is_refused) {
  EXPECT_EQ(nccl_group::make({}).code(), errc::invalid_argument);
}

TEST(nccl_group_without_gpus, is_unsupported_where_there_are_none) {
  int found = 0;
  if (cudaGetDeviceCount(&found) == cudaSuccess && found > 0)
    GTEST_SKIP() << "there are GPUs";
  EXPECT_EQ(nccl_group::make(std::vector{0}).code(), errc::unsupported);
}

TEST_F(nccl_arguments, gpus_that_do_not_exist_or_come_twice_are_refused) {
  for (const auto& wrong : {std::vector{-1}, std::vector{ranks()}, std::vector{0, 0}})
    EXPECT_EQ(nccl_group::make(wrong).code(), errc::invalid_argument);
}

TEST_F(nccl_arguments, ranks_that_do_not_exist_are_refused) {
  const test::gpu_bytes a(0, 64), b(0, 64);
  EXPECT_EQ(code_of({-1, 0, a.data(), b.data(), 64}), errc::invalid_argument);
  EXPECT_EQ(code_of({0, -1, a.data(), b.data(), 64}), errc::invalid_argument);
  EXPECT_EQ(code_of({ranks(), 0, a.data(), b.data(), 64}), errc::invalid_argument);
  EXPECT_EQ(code_of({0, ranks(), a.data(), b.data(), 64}), errc::invalid_argument);
  EXPECT_TRUE(group->usable());
}

TEST_F(nccl_arguments, null_pointers_are_refused_unless_for_zero_bytes) {
  const test::gpu_bytes a(0, 64);
  EXPECT_EQ(code_of({0, 0, nullptr, a.data(), 64}), errc::invalid_argument);
  EXPECT_EQ(code_of({0, 0, a.data(), nullptr, 64}), errc::invalid_argument);
  EXPECT_EQ(code_of({0, 0, nullptr, nullptr, 0}), errc::ok);
}

TEST_F(nccl_arguments, one_wrong_exchange_keeps_all_from_being_enqueued) {
  const test::gpu_bytes a(0, test::bytes(64)), b(0, 64);
  const exchange list[] = {{0, 0, a.data(), b.data(), 64}, {0, ranks(), a.data(), b.data(), 64}};
  EXPECT_EQ(group->exchange_all(list, streams).code(), errc::invalid_argument);
  ASSERT_TRUE(group->wait(streams, std::chrono::steady_clock::now() + 30s).ok());
  EXPECT_TRUE(b.download() == test::bytes(64, std::byte{0xFF}));
  EXPECT_TRUE(exchange_and_wait({list, 1}).ok());
  EXPECT_TRUE(b.download() == test::bytes(64));
}

TEST_F(nccl_arguments, streams_must_be_one_per_rank_and_not_null) {
  auto wrong = streams;
  wrong.back() = nullptr;
  const auto soon = std::chrono::steady_clock::now() + 30s;
  EXPECT_EQ(group->exchange_all({}, wrong).code(), errc::invalid_argument);
  EXPECT_EQ(group->wait(wrong, soon).code(), errc::invalid_argument);
  wrong.pop_back();
  EXPECT_EQ(group->exchange_all({}, wrong).code(), errc::invalid_argument);
  EXPECT_EQ(group->wait(wrong, soon).code(), errc::invalid_argument);
  EXPECT_TRUE(group->usable());
}

TEST_F(nccl_arguments, nothing_to_exchange_is_no_error) {
  EXPECT_TRUE(exchange_and_wait({}).ok());
  EXPECT_TRUE(group->poll().ok());
}

} // namespace
} // namespace pikv
