// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/checksum.hpp>

#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {
namespace {

constexpr unsigned threads = 256;

__device__ std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

__device__ std::uint64_t term(std::uint64_t word, std::size_t index) {
  return mix(word + (index + 1) * 0x9E3779B97F4A7C15ULL);
}

/// One block per run.
__global__ void __launch_bounds__(threads)
    checksum_kernel(const checksum_run* __restrict__ runs, std::uint64_t* __restrict__ out) {
  const checksum_run run = runs[blockIdx.x];
  const auto* words = reinterpret_cast<const std::uint64_t*>(run.data);
  const std::size_t n = run.bytes / 8;
  std::uint64_t sum = 0;
  for (std::size_t i = threadIdx.x; i < n; i += threads)
    sum += term(words[i], i);
  if (threadIdx.x == 0 && run.bytes % 8 != 0) {
    std::uint64_t tail = 0;
    for (std::size_t i = n * 8; i < run.bytes; ++i)
      tail = tail << 8 | static_cast<std::uint64_t>(run.data[i]);
    sum += term(tail, n);
  }
  __shared__ unsigned long long total;
  if (threadIdx.x == 0)
    total = 0;
  __syncthreads();
  atomicAdd(&total, static_cast<unsigned long long>(sum));
  __syncthreads();
  if (threadIdx.x == 0)
    out[blockIdx.x] = total;
}

} // namespace

result<void> checksum(const checksum_run* runs, std::uint32_t count, std::uint64_t* out,
                      CUstream_st* stream) {
  if (count == 0)
    return {};
  checksum_kernel<<<count, threads, 0, stream>>>(runs, out);
  return check_launch("checksum_kernel");
}

} // namespace pikv::gpu::cuda
