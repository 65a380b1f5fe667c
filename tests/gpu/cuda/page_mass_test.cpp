// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include <pikv/gpu/cuda/page_mass.hpp>

#include "gpu/cuda/device_fixture.hpp"

namespace pikv {
namespace {

class cuda_page_mass : public test::gpu_test {};

TEST_F(cuda_page_mass, matches_float64_for_any_shape) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    std::mt19937_64 rng(seed);
    const std::uint32_t rows = test::between(rng, 1, seed < 8 ? 40 : 120),
                        heads = test::between(rng, 1, 32), pages = test::between(rng, 1, 300);
    std::normal_distribution<float> normal(0, 4);
    std::vector<float> page_lse, lse;
    std::vector<double> want(pages, 0.0);
    for (std::uint32_t r = 0; r < rows * heads; ++r) {
      double sum = 0;
      for (std::uint32_t p = 0; p < pages; ++p) {
        page_lse.push_back(test::between(rng, 0, 5) == 0 ? -INFINITY : normal(rng));
        sum += std::exp(static_cast<double>(page_lse.back()));
      }
      lse.push_back(r % 7 == 3 ? -INFINITY : static_cast<float>(std::log(sum + 0.5)));
      for (std::uint32_t p = 0; p < pages && r % 7 != 3; ++p)
        want[p] +=
            std::exp(static_cast<double>(page_lse[std::size_t{r} * pages + p]) - lse[r]) / heads;
    }
    const test::device_array<float> a(page_lse), b(lse), mass(pages);
    const gpu::page_mass_args args{rows, heads, pages, a.data(), b.data(), mass.data()};
    const test::device_array<std::byte> workspace(gpu::cuda::page_mass_workspace_bytes(args));
    ASSERT_TRUE(gpu::cuda::page_mass(args, workspace.data(), nullptr));
    test::synchronise();
    const auto got = mass.download();
    for (std::uint32_t p = 0; p < pages; ++p)
      ASSERT_NEAR(got[p], want[p], 1e-5 * want[p] + 1e-9) << "seed " << seed << " page " << p;
  }
}

} // namespace
} // namespace pikv
