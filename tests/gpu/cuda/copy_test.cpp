// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include <pikv/gpu/cuda/copy.hpp>
#include <pikv/gpu/cuda/launch_queue.hpp>
#include <pikv/gpu/cuda/table.hpp>

#include "gpu/cuda/device_fixture.hpp"

namespace pikv {
namespace {

using bytes = std::vector<std::byte>;

class cuda_copy : public test::gpu_test {};

enum class place { device, host };

/// Device memory or mapped host memory with given contents.
class memory {
public:
  memory(place where, const bytes& contents) : where_(where), size_(contents.size()) {
    test::expect_cuda(where == place::device ? cudaMalloc(reinterpret_cast<void**>(&data_), size_)
                                             : cudaHostAlloc(reinterpret_cast<void**>(&data_),
                                                             size_, cudaHostAllocMapped));
    test::expect_cuda(cudaMemcpy(data_, contents.data(), size_, cudaMemcpyDefault));
  }
  memory(const memory&) = delete;
  memory& operator=(const memory&) = delete;
  ~memory() { where_ == place::device ? cudaFree(data_) : cudaFreeHost(data_); }
  std::byte* data() const { return data_; }
  bytes contents() const {
    bytes x(size_);
    test::expect_cuda(cudaMemcpy(x.data(), data_, size_, cudaMemcpyDefault));
    return x;
  }

private:
  place where_;
  std::size_t size_;
  std::byte* data_ = nullptr;
};

bytes random_bytes(std::mt19937_64& rng, std::size_t n) {
  bytes x(n);
  for (auto& b : x)
    b = static_cast<std::byte>(rng());
  return x;
}

struct run {
  std::size_t from, to, bytes;
};

/// Runs in random order that do not meet where they arrive; `alignment` of both ends.
std::vector<run> random_runs(std::mt19937_64& rng, std::size_t size, std::uint32_t most,
                             std::size_t alignment) {
  std::vector<run> runs;
  const auto aligned = [&](std::size_t x) { return x / alignment * alignment; };
  for (std::size_t to = aligned(alignment + rng() % 200); to + most < size;) {
    const std::size_t n = rng() % 8 == 0 ? rng() % 40 : rng() % (most + 1);
    runs.push_back({aligned(rng() % (size - most)), to, n});
    to = aligned(to + n + alignment + rng() % 300);
  }
  std::ranges::shuffle(runs, rng);
  return runs;
}

/// Copies runs between two memories by `copy`, and compares all bytes with what memcpy makes.
template <class F>
void check(std::pair<place, place> way, std::size_t size, const std::vector<run>& runs,
           std::mt19937_64& rng, F copy) {
  const bytes source = random_bytes(rng, size);
  bytes expected = random_bytes(rng, size);
  const memory from(way.first, source), to(way.second, expected);
  std::vector<gpu::copy_item> items;
  for (const auto& r : runs) {
    items.push_back({from.data() + r.from, to.data() + r.to, r.bytes});
    std::copy_n(source.begin() + static_cast<std::ptrdiff_t>(r.from), r.bytes,
                expected.begin() + static_cast<std::ptrdiff_t>(r.to));
  }
  copy(items);
  test::synchronise();
  const bytes got = to.contents();
  const auto differs = std::ranges::mismatch(got, expected).in1;
  ASSERT_TRUE(differs == got.end()) << "byte " << differs - got.begin();
}

constexpr std::pair<place, place> ways[] = {{place::device, place::host},
                                            {place::host, place::device},
                                            {place::device, place::device},
                                            {place::host, place::host}};

void by_kernel(const std::vector<gpu::copy_item>& items, std::uint32_t blocks,
               std::uint32_t pieces_a_launch = 1000) {
  const auto pieces = gpu::cuda::copy_pieces(items);
  const test::device_array<gpu::copy_item> on_device(pieces);
  ASSERT_TRUE(gpu::cuda::copy(
      {on_device.data(), static_cast<std::uint32_t>(pieces.size()), blocks, pieces_a_launch},
      nullptr));
  test::synchronise();
}

TEST_F(cuda_copy, moves_aligned_runs_of_any_size) {
  std::mt19937_64 rng(1);
  for (const auto& way : ways)
    for (const std::uint32_t most : {100U, 3000U, 20000U, 300000U})
      for (const std::uint32_t blocks : {1U, 7U, 64U})
        check(way, std::size_t{2} << 20, random_runs(rng, std::size_t{2} << 20, most, 16), rng,
              [&](const auto& items) { by_kernel(items, blocks); });
}

TEST_F(cuda_copy, moves_runs_at_any_address) {
  std::mt19937_64 rng(2);
  for (const auto& way : ways)
    for (const std::size_t alignment : {1U, 2U, 8U})
      check(way, std::size_t{1} << 20, random_runs(rng, std::size_t{1} << 20, 20000, alignment),
            rng, [&](const auto& items) { by_kernel(items, 32); });
}

TEST_F(cuda_copy, one_copy_may_take_many_launches) {
  std::mt19937_64 rng(5);
  for (const std::uint32_t pieces_a_launch : {1U, 7U})
    check(ways[0], std::size_t{1} << 20, random_runs(rng, std::size_t{1} << 20, 50000, 16), rng,
          [&](const auto& items) { by_kernel(items, 2, pieces_a_launch); });
}

TEST_F(cuda_copy, pieces_cover_their_items_in_order) {
  const std::size_t piece = gpu::cuda::small_copies.piece_bytes;
  const bytes from_bytes(4 * piece);
  bytes to_bytes(4 * piece);
  const auto* from = from_bytes.data();
  auto* to = to_bytes.data();
  const gpu::copy_item items[] = {{from, to, 3 * piece + 5}, {from, to, 0}, {from, to, piece}};
  const auto pieces = gpu::cuda::copy_pieces(items);
  ASSERT_EQ(pieces.size(), 5U);
  EXPECT_EQ(pieces[3].from - from, static_cast<std::ptrdiff_t>(3 * piece));
  EXPECT_EQ(pieces[3].to - to, static_cast<std::ptrdiff_t>(3 * piece));
  EXPECT_EQ(pieces[3].bytes, 5U);
  EXPECT_EQ(pieces[4].bytes, piece);
}

TEST_F(cuda_copy, the_kernel_table_moves_small_and_large_items) {
  auto queue = gpu::cuda::launch_queue::make(0, gpu::stream_role::copy);
  ASSERT_TRUE(queue.ok());
  auto& q = **queue;
  std::mt19937_64 rng(3);
  const std::size_t size = std::size_t{16} << 20;
  const auto most = static_cast<std::uint32_t>(2 * gpu::cuda::small_copies.engine_bytes);
  for (const auto& way : ways)
    check(way, size, random_runs(rng, size, most, 16), rng, [&](const auto& items) {
      gpu::cuda::table::copy(items, q);
      ASSERT_EQ(q.finish().code, errc::ok);
    });
}

TEST_F(cuda_copy, host_memory_that_kernels_do_not_reach_goes_by_the_engine) {
  auto queue = gpu::cuda::launch_queue::make(0, gpu::stream_role::copy);
  ASSERT_TRUE(queue.ok());
  auto& q = **queue;
  std::mt19937_64 rng(4);
  const bytes source = random_bytes(rng, 100000);
  const test::device_array<std::byte> device(source.size());
  bytes back(source.size());
  gpu::cuda::table::copy(std::vector<gpu::copy_item>{{source.data(), device.data(), 100000}}, q);
  gpu::cuda::table::copy(std::vector<gpu::copy_item>{{device.data(), back.data(), 100000}}, q);
  ASSERT_EQ(q.finish().code, errc::ok);
  EXPECT_EQ(back, source);
}

TEST_F(cuda_copy, nothing_to_copy_is_no_error) {
  auto queue = gpu::cuda::launch_queue::make(0, gpu::stream_role::copy);
  ASSERT_TRUE(queue.ok());
  gpu::cuda::table::copy({}, **queue);
  gpu::cuda::table::copy(std::vector<gpu::copy_item>(3), **queue);
  EXPECT_EQ((*queue)->finish().code, errc::ok);
}

} // namespace
} // namespace pikv
