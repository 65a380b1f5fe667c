// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/page_mass.hpp>

#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {
namespace {

/// A block takes 32 neighbouring pages; each of its warps every n-th (row, head).
struct mass_tuning {
  unsigned warps = 16;
};
constexpr mass_tuning tuning{};

__global__ void __launch_bounds__(32 * tuning.warps)
    mass_kernel(const __grid_constant__ page_mass_args x) {
  __shared__ float sums[tuning.warps][32];
  const std::uint32_t page = blockIdx.x * 32 + threadIdx.x;
  const std::uint32_t n = x.rows * x.heads;
  float sum = 0;
  if (page < x.pages)
#pragma unroll 4
    for (std::uint32_t r = threadIdx.y; r < n; r += tuning.warps) {
      const float lse = x.lse[r];
      const float log_mass = x.page_lse[std::size_t{r} * x.pages + page];
      sum += isfinite(lse) ? expf(log_mass - lse) : 0.0F;
    }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || page >= x.pages)
    return;
  float total = 0;
  for (unsigned w = 0; w < tuning.warps; ++w)
    total += sums[w][threadIdx.x];
  x.mass[page] = total / static_cast<float>(x.heads);
}

} // namespace

result<void> page_mass(const page_mass_args& x, CUstream_st* stream) {
  if (x.pages == 0 || x.heads == 0)
    return {};
  mass_kernel<<<(x.pages + 31) / 32, dim3(32, tuning.warps), 0, stream>>>(x);
  return check_launch("page_mass");
}

} // namespace pikv::gpu::cuda
