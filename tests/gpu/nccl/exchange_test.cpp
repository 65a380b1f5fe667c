// SPDX-License-Identifier: Apache-2.0
#include "gpu/nccl/group_fixture.hpp"

namespace pikv {
namespace {

using namespace std::chrono_literals;

using gpu::transport::exchange;

/// Exchanges with memory of their own, and what must arrive.
class traffic {
public:
  traffic(std::span<const int> gpus, std::uint64_t seed) : gpus_(gpus), rng_(seed) {}

  void add(int from, int to, std::size_t size) {
    sent_.push_back(test::random_bytes(rng_, size));
    const auto& source = sources_.emplace_back(gpus_[static_cast<std::size_t>(from)], sent_.back());
    const auto& target = targets_.emplace_back(gpus_[static_cast<std::size_t>(to)], size);
    list.push_back({from, to, source.data(), target.data(), size});
  }
  /// Mostly small, sometimes several MiB, sometimes nothing.
  void add(int from, int to) {
    const auto bits = std::uniform_int_distribution<int>(0, 22)(rng_);
    add(from, to, rng_() & ((std::uint64_t{1} << bits) - 1));
  }
  void expect_arrived() const {
    for (std::size_t i = 0; i < list.size(); ++i)
      EXPECT_TRUE(targets_[i].download() == sent_[i])
          << "exchange " << i << ", " << list[i].bytes << " bytes from rank " << list[i].from_rank
          << " to " << list[i].to_rank;
  }

  std::vector<exchange> list;

private:
  std::span<const int> gpus_;
  std::mt19937_64 rng_;
  std::vector<test::bytes> sent_;
  std::vector<test::gpu_bytes> sources_, targets_;
};

class nccl_exchange : public test::nccl_test {};

TEST_F(nccl_exchange, a_rank_sends_to_itself) {
  constexpr std::size_t sizes[] = {0, 1, 7, 4 << 10, (1 << 20) + 3};
  for (const std::size_t size : sizes) {
    traffic x(gpus, size);
    x.add(0, 0, size);
    const auto r = exchange_and_wait(x.list);
    ASSERT_TRUE(r.ok()) << r.error().what;
    x.expect_arrived();
  }
}

TEST_F(nccl_exchange, every_rank_sends_to_every_rank) {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    traffic x(gpus, seed);
    for (int from = 0; from < ranks(); ++from)
      for (int to = 0; to < ranks(); ++to)
        x.add(from, to);
    const auto r = exchange_and_wait(x.list);
    ASSERT_TRUE(r.ok()) << r.error().what;
    x.expect_arrived();
  }
}

TEST_F(nccl_exchange, many_of_one_group_match_in_the_order_given) {
  traffic x(gpus, 11);
  std::mt19937_64 rng(12);
  for (int i = 0; i < 200; ++i) {
    const auto any = [&] { return static_cast<int>(rng() % gpus.size()); };
    const int from = any();
    x.add(from, any(), 1 + rng() % 5000);
  }
  const auto r = exchange_and_wait(x.list);
  ASSERT_TRUE(r.ok()) << r.error().what;
  x.expect_arrived();
}

TEST_F(nccl_exchange, groups_follow_each_other_without_a_wait) {
  traffic x(gpus, 13);
  for (int i = 0; i < 64; ++i)
    x.add(i % ranks(), (i + 1) % ranks(), 4096);
  for (std::size_t i = 0; i < x.list.size(); ++i) {
    const auto r = group->exchange_all(std::span{x.list}.subspan(i, 1), streams);
    ASSERT_TRUE(r.ok()) << r.error().what;
  }
  const auto r = group->wait(streams, std::chrono::steady_clock::now() + 30s);
  ASSERT_TRUE(r.ok()) << r.error().what;
  x.expect_arrived();
}

/// What the streams held before comes first, and what they are given afterwards sees the bytes.
TEST_F(nccl_exchange, keeps_its_place_in_the_streams) {
  const int last = ranks() - 1;
  auto* const to_stream = streams[static_cast<std::size_t>(last)];
  const std::size_t n = std::size_t{32} << 20;
  const test::gpu_bytes source(gpus.front(), n), target(gpus.back(), n), copy(gpus.back(), n);
  test::expect_cuda(cudaMemsetAsync(source.data(), 0x5A, n, streams[0]));
  const exchange x{0, last, source.data(), target.data(), n};
  ASSERT_TRUE(group->exchange_all({&x, 1}, streams).ok());
  test::expect_cuda(
      cudaMemcpyAsync(copy.data(), target.data(), n, cudaMemcpyDeviceToDevice, to_stream));
  ASSERT_TRUE(group->wait(streams, std::chrono::steady_clock::now() + 30s).ok());
  EXPECT_TRUE(copy.download() == test::bytes(n, std::byte{0x5A}));
}

TEST_F(nccl_exchange, leaves_the_calling_threads_gpu_as_it_was) {
  test::expect_cuda(cudaSetDevice(0));
  const auto again = gpu::transport::nccl_group::make(gpus);
  ASSERT_TRUE(again.ok()) << again.error().what;
  int now = -1;
  test::expect_cuda(cudaGetDevice(&now));
  EXPECT_EQ(now, 0);
}

} // namespace
} // namespace pikv
