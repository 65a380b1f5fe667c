// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include <pikv/gpu/cuda/audit.hpp>

#include "gpu/cuda/device_fixture.hpp"

namespace pikv {
namespace {

using gpu::cache_dims;

class cuda_audit : public test::gpu_test {};

TEST_F(cuda_audit, equals_the_hosts_for_any_shape) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    std::mt19937_64 rng(seed);
    const cache_dims dims = test::random_dims(rng);
    const std::uint32_t rows = test::between(rng, 1, 60);
    const std::size_t n = std::size_t{rows} * dims.query_heads;
    const auto type = static_cast<dtype>(seed % 3);
    const auto out = test::random_tensor(rng, type, rows, dims.query_heads, dims.head_dim);
    std::normal_distribution<float> normal;
    std::vector<float> lse, full_lse, full_out;
    for (std::size_t i = 0; i < n; ++i) {
      full_lse.push_back(i % 11 == 5 ? -INFINITY : 3 * normal(rng));
      lse.push_back(i % 11 == 5 || i % 13 == 4 ? -INFINITY : full_lse[i] - std::abs(normal(rng)));
      for (std::size_t c = 0; c < dims.head_dim; ++c)
        full_out.push_back(static_cast<float>(test::tensor_value(out.ref, i / dims.query_heads,
                                                                 i % dims.query_heads, c))
                           + 0.1F * normal(rng));
    }
    double coverage = 0, error = 0;
    gpu::serial_executor exec;
    gpu::host_kernels().audit(
        {dims, rows, out.ref, lse.data(), full_out.data(), full_lse.data(), &coverage, &error},
        exec);
    const test::device_tensor device_out(out, n * dims.head_dim);
    const test::device_array<float> a(lse), b(full_out), c(full_lse);
    const test::device_array<double> results(2);
    const test::device_array<std::byte> workspace(gpu::cuda::audit_workspace_bytes());
    ASSERT_TRUE(gpu::cuda::audit({dims, rows, device_out.ref, a.data(), b.data(), c.data(),
                                  results.data(), results.data() + 1},
                                 workspace.data(), nullptr));
    test::synchronise();
    const auto got = results.download();
    EXPECT_NEAR(got[0], coverage, 1e-9 + 1e-6 * coverage) << seed;
    EXPECT_NEAR(got[1], error, 1e-9 * error) << seed;
  }
}

TEST_F(cuda_audit, nothing_to_compare_is_complete) {
  const test::device_array<double> results(2);
  const test::device_array<std::byte> workspace(gpu::cuda::audit_workspace_bytes());
  ASSERT_TRUE(gpu::cuda::audit(
      {{2, 1, 32, 16}, 0, {}, nullptr, nullptr, nullptr, results.data(), results.data() + 1},
      workspace.data(), nullptr));
  test::synchronise();
  EXPECT_EQ(results.download()[0], 1.0);
  EXPECT_EQ(results.download()[1], 0.0);
}

} // namespace
} // namespace pikv
