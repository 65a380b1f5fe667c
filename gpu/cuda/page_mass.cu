// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/page_mass.hpp>

#include <algorithm>

#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {
namespace {

/// A block takes 32 neighbouring pages and one stretch of the (row, head) pairs; each of its warps
/// every n-th of them.
struct mass_tuning {
  unsigned warps = 16;
  unsigned pairs = 512;    ///< of a stretch, at least: two rounds of loads a thread, and then some
  unsigned stretches = 64; ///< at most
};
constexpr mass_tuning tuning{};

unsigned stretches_of(const page_mass_args& x) noexcept {
  const std::uint64_t pairs = std::uint64_t{x.rows} * x.heads;
  return static_cast<unsigned>(
      std::clamp<std::uint64_t>(pairs / tuning.pairs, 1, tuning.stretches));
}

__global__ void __launch_bounds__(32 * tuning.warps)
    mass_kernel(const __grid_constant__ page_mass_args x, float* out, float factor) {
  __shared__ float sums[tuning.warps][32];
  const std::uint32_t page = blockIdx.x * 32 + threadIdx.x;
  const std::uint64_t n = std::uint64_t{x.rows} * x.heads;
  const std::uint64_t end = n * (blockIdx.y + 1) / gridDim.y;
  float sum = 0;
  if (page < x.pages)
#pragma unroll 8
    for (std::uint64_t r = n * blockIdx.y / gridDim.y + threadIdx.y; r < end; r += tuning.warps) {
      const float lse = x.lse[r];
      const float log_mass = x.page_lse[r * x.pages + page];
      sum += isfinite(lse) ? expf(log_mass - lse) : 0.0F;
    }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || page >= x.pages)
    return;
  float total = 0;
  for (unsigned w = 0; w < tuning.warps; ++w)
    total += sums[w][threadIdx.x];
  out[std::size_t{blockIdx.y} * x.pages + page] = total * factor;
}

/// Adds up the stretches.
__global__ void add_kernel(const __grid_constant__ page_mass_args x, const float* parts,
                           unsigned stretches) {
  const std::uint32_t page = blockIdx.x * blockDim.x + threadIdx.x;
  if (page >= x.pages)
    return;
  float sum = 0;
  for (unsigned i = 0; i < stretches; ++i)
    sum += parts[std::size_t{i} * x.pages + page];
  x.mass[page] = sum / static_cast<float>(x.heads);
}

} // namespace

std::size_t page_mass_workspace_bytes(const page_mass_args& x) noexcept {
  const unsigned n = stretches_of(x);
  return n > 1 ? std::size_t{n} * x.pages * sizeof(float) : 0;
}

result<void> page_mass(const page_mass_args& x, std::byte* workspace, CUstream_st* stream) {
  if (x.pages == 0 || x.heads == 0)
    return {};
  const unsigned n = stretches_of(x);
  float* const parts = n > 1 ? reinterpret_cast<float*>(workspace) : x.mass;
  const float factor = n > 1 ? 1.0F : 1.0F / static_cast<float>(x.heads);
  mass_kernel<<<dim3((x.pages + 31) / 32, n), dim3(32, tuning.warps), 0, stream>>>(x, parts,
                                                                                   factor);
  if (n > 1)
    add_kernel<<<(x.pages + 127) / 128, 128, 0, stream>>>(x, parts, n);
  return check_launch("page_mass");
}

} // namespace pikv::gpu::cuda
