// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>

#include <pikv/gpu/cuda/launch_queue.hpp>

#include "gpu/cuda/device_fixture.hpp"

namespace pikv {
namespace {

class cuda_launch_queue : public test::gpu_test {};

/// A task of several kernels stages for each of them, and none waits for the one before.
TEST_F(cuda_launch_queue, keeps_what_is_staged_until_the_gpu_has_read_it) {
  constexpr std::size_t n = std::size_t{1} << 16;
  const auto queue = gpu::cuda::launch_queue::make(0, gpu::stream_role::compute);
  ASSERT_TRUE(queue.ok());
  auto& q = **queue;
  const test::device_array<std::byte> slow(std::size_t{1} << 30);
  std::vector<const std::uint32_t*> staged;
  for (std::uint32_t kernel = 0; kernel < 8; ++kernel) {
    q.begin();
    if (kernel == 0) // some milliseconds of work in front of the copies
      for (int i = 0; i < 20; ++i)
        test::expect_cuda(cudaMemsetAsync(slow.data(), i, slow.size(), q.stream()));
    const std::vector<std::uint32_t> values(n, kernel);
    staged.push_back(q.upload(std::span{values}));
    ASSERT_TRUE(q.flush().ok());
  }
  ASSERT_TRUE(q.wait().ok());
  for (std::uint32_t kernel = 0; kernel < staged.size(); ++kernel) {
    std::vector<std::uint32_t> got(n);
    test::expect_cuda(cudaMemcpy(got.data(), staged[kernel], n * 4, cudaMemcpyDeviceToHost));
    EXPECT_EQ(std::ranges::count(got, kernel), static_cast<std::ptrdiff_t>(n)) << kernel;
  }
}

/// The ring goes round: pieces of tasks that ended are used again.
TEST_F(cuda_launch_queue, uses_memory_again_once_a_task_has_ended) {
  const auto queue = gpu::cuda::launch_queue::make(0, gpu::stream_role::compute);
  ASSERT_TRUE(queue.ok());
  auto& q = **queue;
  const std::vector<std::byte> some(1000);
  std::set<const std::byte*> places;
  constexpr int tasks = 20'000;
  for (int i = 0; i < tasks; ++i) {
    q.begin();
    places.insert(q.upload(std::span{some}));
    ASSERT_TRUE(q.flush().ok());
    EXPECT_EQ(q.close().failed.code, errc::ok);
  }
  EXPECT_LT(places.size(), tasks / 2);
  EXPECT_EQ(q.finish().code, errc::ok);
}

} // namespace
} // namespace pikv
