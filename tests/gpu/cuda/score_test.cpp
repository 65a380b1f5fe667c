// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <thread>

#include <pikv/gpu/cuda/score.hpp>

#include "gpu/cuda/device_fixture.hpp"

namespace pikv {
namespace {

using gpu::cache_dims;
using gpu::score_kind;

class cuda_score : public test::gpu_test {};

constexpr std::uint8_t both_parts = gpu::summary_mean_var | gpu::summary_min_max;

struct batch {
  std::vector<test::page_set> pages;
  std::vector<gpu::sequence_rows> sequences;
  std::vector<std::uint64_t> offsets;
  std::uint32_t rows = 0, max_rows = 0, max_pages = 0;
  std::uint64_t floats = 0;
};

batch make_batch(std::mt19937_64& rng, const cache_dims& dims, std::uint8_t parts,
                 std::uint32_t most_pages, std::uint32_t most_rows) {
  batch b;
  const std::uint32_t n = test::between(rng, 1, 4);
  b.pages.resize(n);
  for (std::uint32_t s = 0; s < n; ++s) {
    const std::uint32_t pages = test::between(rng, 0, most_pages);
    for (std::uint32_t i = 0; i < pages; ++i)
      b.pages[s].add(rng, dims, form::f16, test::between(rng, 1, dims.page_tokens),
                     i * dims.page_tokens);
    b.pages[s].summarise(dims, parts);
    for (auto& v : b.pages[s].views)
      if (test::between(rng, 0, 9) == 0)
        v.data = nullptr;
    gpu::sequence_rows rows;
    rows.settled = b.pages[s].views;
    rows.row_begin = b.rows;
    rows.row_count = test::between(rng, 1, most_rows);
    b.rows += rows.row_count;
    b.max_rows = std::max(b.max_rows, rows.row_count);
    b.max_pages = std::max(b.max_pages, pages);
    b.offsets.push_back(b.floats);
    b.floats += std::uint64_t{rows.row_count} * dims.query_heads * pages;
    b.sequences.push_back(rows);
  }
  return b;
}

void expect_as_host(std::uint64_t seed, const cache_dims& dims, score_kind kind, std::uint8_t parts,
                    dtype type, std::uint32_t most_pages, std::uint32_t most_rows) {
  SCOPED_TRACE(testing::Message() << "seed " << seed << " dim " << dims.head_dim << " heads "
                                  << dims.query_heads << "/" << dims.kv_heads);
  std::mt19937_64 rng(seed);
  const batch b = make_batch(rng, dims, parts, most_pages, most_rows);
  const auto q = test::random_tensor(rng, type, b.rows, dims.query_heads, dims.head_dim);
  const float scale = 1 / std::sqrt(static_cast<float>(dims.head_dim));
  std::vector<float> want(b.floats + 1, NAN);
  gpu::serial_executor exec;
  gpu::host_kernels().score({dims, kind, scale, q.ref, b.sequences, want.data(), b.offsets}, exec);

  std::vector<test::device_pages> pages;
  std::vector<gpu::cuda::attend_sequence> table;
  for (std::size_t s = 0; s < b.sequences.size(); ++s) {
    const auto& from = b.sequences[s];
    pages.emplace_back(dims, from.settled);
    gpu::cuda::attend_sequence x;
    x.settled = pages.back().table.data();
    x.settled_count = static_cast<std::uint32_t>(from.settled.size());
    x.row_begin = from.row_begin;
    x.row_count = from.row_count;
    x.page_lse_offset = b.offsets[s];
    table.push_back(x);
  }
  const test::device_array<gpu::cuda::attend_sequence> sequences(table);
  const test::device_tensor device_q(q, std::size_t{b.rows} * dims.query_heads * dims.head_dim);
  const test::device_array<float> out(b.floats + 1);
  const auto n = static_cast<std::uint32_t>(table.size());
  const auto ok = gpu::cuda::score(
      {dims, kind, scale, device_q.ref, sequences.data(), {n, b.max_rows, b.max_pages}, out.data()},
      nullptr);
  ASSERT_TRUE(ok) << ok.error().what;
  test::synchronise();
  const auto got = out.download();
  for (std::size_t i = 0; i < b.floats; ++i) {
    if (std::isinf(want[i]))
      ASSERT_EQ(got[i], want[i]) << i;
    else
      ASSERT_NEAR(got[i], want[i], 2e-5 * std::max(1.0F, std::abs(want[i]))) << i;
  }
  EXPECT_TRUE(std::isnan(got[b.floats])) << "wrote beyond the scores";
}

TEST_F(cuda_score, equals_the_hosts_for_any_shape) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    std::mt19937_64 rng(seed);
    const cache_dims dims = test::random_dims(rng);
    const auto kind = seed % 2 == 0 ? score_kind::mass : score_kind::quest;
    const std::uint8_t own =
        kind == score_kind::mass ? gpu::summary_mean_var : gpu::summary_min_max;
    expect_as_host(seed, dims, kind, seed % 3 == 0 ? both_parts : own,
                   static_cast<dtype>(test::between(rng, 0, 2)), 70, 5);
  }
}

TEST_F(cuda_score, long_sequences_and_many_rows) {
  expect_as_host(100, {32, 8, 128, 16}, score_kind::mass, gpu::summary_mean_var, dtype::bf16, 700,
                 1);
  expect_as_host(101, {8, 2, 128, 16}, score_kind::quest, both_parts, dtype::f16, 300, 40);
  expect_as_host(102, {8, 8, 64, 8}, score_kind::mass, both_parts, dtype::f32, 300, 17);
}

TEST_F(cuda_score, a_page_without_the_summary_has_no_score) {
  std::mt19937_64 rng(9);
  const cache_dims dims{1, 1, 32, 8};
  test::page_set pages;
  pages.add(rng, dims, form::f16, 8, 0);
  pages.summarise(dims, gpu::summary_min_max);
  const test::device_pages device(dims, pages.views);
  gpu::cuda::attend_sequence x;
  x.settled = device.table.data();
  x.settled_count = 1;
  x.row_count = 1;
  const test::device_array<gpu::cuda::attend_sequence> sequences(std::vector{x});
  const auto q = test::random_tensor(rng, dtype::f32, 1, 1, 32);
  const test::device_tensor device_q(q, 32);
  const test::device_array<float> out(1);
  ASSERT_TRUE(gpu::cuda::score(
      {dims, score_kind::mass, 1, device_q.ref, sequences.data(), {1, 1, 1}, out.data()}, nullptr));
  test::synchronise();
  EXPECT_EQ(out.download()[0], -INFINITY);
}

/// Launches of different shapes need different amounts of shared memory.
TEST_F(cuda_score, threads_launch_different_shapes_side_by_side) {
  const test::device_array<gpu::cuda::attend_sequence> none(
      std::vector<gpu::cuda::attend_sequence>(1)); // no rows and no pages: only the launch counts
  const auto launch = [&](std::uint32_t dim, std::uint32_t rows) {
    const cache_dims dims{8, 2, dim, 16};
    gpu::tensor_ref q{nullptr, dtype::f16, std::uint64_t{8} * dim, dim};
    for (int i = 0; i < 500; ++i) {
      const auto ok = gpu::cuda::score(
          {dims, score_kind::mass, 1, q, none.data(), {1, rows, 64}, nullptr}, cudaStreamPerThread);
      ASSERT_TRUE(ok) << ok.error().what;
    }
    test::expect_cuda(cudaStreamSynchronize(cudaStreamPerThread));
  };
  std::thread large([&] { launch(128, 64); }), small([&] { launch(64, 1); });
  large.join();
  small.join();
}

} // namespace
} // namespace pikv
