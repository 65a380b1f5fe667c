// SPDX-License-Identifier: Apache-2.0
// Page tables in device memory against the lists that they are copies of.
#include <random>

#include <pikv/gpu/cuda/resident_table.hpp>
#include <pikv/gpu/memory/slab_arena.hpp>

#include "gpu/cuda/device_fixture.hpp"

namespace pikv {
namespace {

class cuda_resident_table : public test::gpu_test {};

gpu::page_view page(std::uint32_t i) {
  gpu::page_view v;
  v.first_position = i;
  v.tokens = 16;
  return v;
}

std::vector<std::uint32_t> read(const gpu::page_view* device, std::size_t n) {
  std::vector<gpu::page_view> views(n);
  test::expect_cuda(
      cudaMemcpy(static_cast<void*>(views.data()), device, n * sizeof views[0], cudaMemcpyDefault));
  std::vector<std::uint32_t> positions;
  for (const auto& v : views)
    positions.push_back(v.first_position);
  return positions;
}

std::vector<std::uint32_t> positions(std::span<const gpu::page_view> views) {
  std::vector<std::uint32_t> x;
  for (const auto& v : views)
    x.push_back(v.first_position);
  return x;
}

TEST_F(cuda_resident_table, equals_every_list_that_is_asked_for) {
  auto device = gpu::make_device("cuda", {.memory_bytes = std::size_t{16} << 20});
  ASSERT_TRUE(device.ok());
  auto queue = gpu::cuda::launch_queue::make(0, gpu::stream_role::compute);
  ASSERT_TRUE(queue.ok());
  auto& q = **queue;
  gpu::cuda::resident_table table{(*device)->memory()};
  std::mt19937_64 rng(5);
  std::vector<gpu::page_view> views, older;
  std::uint64_t edition = 1, older_edition = 0;
  for (int round = 0; round < 300; ++round) {
    q.begin();
    if (rng() % 4 == 0) { // an old list is asked for again
      older = views;
      older_edition = edition;
    }
    if (rng() % 5 == 0 && !views.empty()) { // a change in the middle
      views[rng() % views.size()] = page(static_cast<std::uint32_t>(rng()));
      ++edition;
    }
    for (auto n = rng() % 40; n > 0; --n)
      views.push_back(page(static_cast<std::uint32_t>(rng())));
    for (const auto& [list, e] : {std::pair{&views, edition}, std::pair{&older, older_edition}}) {
      auto p = table.bring_up(q, {std::span<const gpu::page_view>{*list}, &table, e});
      ASSERT_TRUE(p.ok());
      ASSERT_TRUE(q.wait().ok());
      ASSERT_EQ(read(*p, list->size()), positions(*list)) << round;
    }
    EXPECT_EQ(q.finish().code, errc::ok);
  }
  EXPECT_GE(table.bytes(), views.size() * sizeof(gpu::page_view));
}

TEST_F(cuda_resident_table, says_when_the_device_has_no_room) {
  auto device = gpu::make_device("cuda", {.memory_bytes = 8192});
  ASSERT_TRUE(device.ok());
  auto queue = gpu::cuda::launch_queue::make(0, gpu::stream_role::compute);
  ASSERT_TRUE(queue.ok());
  auto& q = **queue;
  gpu::cuda::resident_table table{(*device)->memory()};
  const std::vector<gpu::page_view> views(1000, page(3));
  q.begin();
  const gpu::page_list list{std::span<const gpu::page_view>{views}, &table, 1};
  auto p = table.bring_up(q, list);
  ASSERT_TRUE(p.ok());
  EXPECT_EQ(*p, nullptr);
  auto sent = gpu::cuda::on_device(q, list); // with the batch instead
  ASSERT_TRUE(sent.ok());
  ASSERT_TRUE(q.flush().ok());
  ASSERT_TRUE(q.wait().ok());
  EXPECT_EQ(read(*sent, views.size()), positions(views));
}

} // namespace
} // namespace pikv
