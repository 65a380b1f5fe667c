// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include <pikv/gpu/cuda/merge.hpp>

#include "gpu/cuda/device_fixture.hpp"

namespace pikv {
namespace {

using gpu::cache_dims;

class cuda_merge : public test::gpu_test {};

void expect_as_host(std::uint64_t seed, std::uint32_t partials, dtype type) {
  SCOPED_TRACE(testing::Message() << "seed " << seed << " partials " << partials);
  std::mt19937_64 rng(seed);
  const cache_dims dims = test::random_dims(rng);
  const std::uint32_t rows = test::between(rng, 1, 9);
  const std::size_t n = std::size_t{rows} * dims.query_heads;
  std::normal_distribution<float> normal;
  std::vector<std::vector<float>> outs(partials), lses(partials);
  std::vector<const float*> host_outs, host_lses, device_outs, device_lses;
  std::vector<test::device_array<float>> memory;
  for (std::uint32_t p = 0; p < partials; ++p) {
    for (std::size_t i = 0; i < n * dims.head_dim; ++i)
      outs[p].push_back(normal(rng));
    for (std::size_t i = 0; i < n; ++i) // some read nothing, and row 0 nothing at all
      lses[p].push_back(i == 0 || test::between(rng, 0, 4) == 0 ? -INFINITY : 40 * normal(rng));
    host_outs.push_back(outs[p].data());
    host_lses.push_back(lses[p].data());
    device_outs.push_back(memory.emplace_back(outs[p]).data());
    device_lses.push_back(memory.emplace_back(lses[p]).data());
  }
  auto want = test::empty_tensor(type, rows, dims.query_heads, dims.head_dim, layout::hnd);
  const test::device_tensor got(want, n * dims.head_dim);
  std::vector<float> want_lse(n, NAN);
  gpu::serial_executor exec;
  gpu::host_kernels().merge({dims, rows, host_outs, host_lses, want.ref, want_lse.data()}, exec);
  const test::device_array<const float*> out_table(device_outs), lse_table(device_lses);
  const test::device_array<float> lse(n);
  ASSERT_TRUE(gpu::cuda::merge(
      {dims, rows, partials, out_table.data(), lse_table.data(), got.ref, lse.data()}, nullptr));
  test::synchronise();
  const auto got_lse = lse.download();
  auto bytes = got.memory.download();
  gpu::tensor_ref host = got.ref;
  host.data = bytes.data();
  const double slack = type == dtype::f32 ? 2e-6 : type == dtype::f16 ? 2e-3 : 1.6e-2;
  for (std::size_t i = 0; i < n; ++i) {
    if (std::isinf(want_lse[i]))
      ASSERT_EQ(got_lse[i], want_lse[i]);
    else
      ASSERT_NEAR(got_lse[i], want_lse[i], 1e-5 * std::max(1.0F, std::abs(want_lse[i])));
    for (std::size_t c = 0; c < dims.head_dim; ++c) {
      const double x = test::tensor_value(want.ref, i / dims.query_heads, i % dims.query_heads, c);
      ASSERT_NEAR(test::tensor_value(host, i / dims.query_heads, i % dims.query_heads, c), x,
                  slack * std::max(1.0, std::abs(x)));
    }
  }
}

TEST_F(cuda_merge, equals_the_hosts_for_any_number_of_partials) {
  std::uint64_t seed = 0;
  for (const std::uint32_t partials : {0U, 1U, 2U, 3U, 8U, 33U, 100U})
    for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16})
      expect_as_host(seed++, partials, type);
}

} // namespace
} // namespace pikv
