// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/codec_numeric.cuh>
#include <pikv/gpu/cuda/launch_chained.hpp>
#include <pikv/gpu/cuda/select.hpp>
#include <pikv/gpu/cuda/chained.cuh>

namespace pikv::gpu::cuda {
namespace {

constexpr unsigned threads = 256;

__global__ void __launch_bounds__(threads)
    compact_kernel(const __grid_constant__ compact_launch x) {
  __shared__ std::uint32_t begin;
  wait_for_previous_kernel();
  let_next_kernel_start();
  if (threadIdx.x == 0)
    begin = 0;
  __syncthreads();
  std::uint32_t sum = 0;
  for (std::uint32_t i = threadIdx.x; i < blockIdx.x; i += threads)
    sum += x.counts[i];
  sum = __reduce_add_sync(whole_warp, sum);
  if (lane_id() == 0 && sum > 0)
    atomicAdd(&begin, sum);
  __syncthreads();
  const std::uint32_t count = x.counts[blockIdx.x];
  for (std::uint32_t i = threadIdx.x; i < count; i += threads) {
    const std::size_t at = std::size_t{blockIdx.x} * x.capacity + i;
    const std::uint32_t page = x.lists[at];
    x.pages[begin + i] = page;
    // Lists pass here in whole lines and without what lies beyond their ends: that suits the bus.
    if (x.host_lists != nullptr)
      x.host_lists[at] = page;
  }
  if (threadIdx.x != 0)
    return;
  x.offsets[blockIdx.x] = begin;
  if (blockIdx.x + 1 == x.lists_count)
    x.offsets[x.lists_count] = begin + count;
}

} // namespace

result<void> compact(const compact_launch& x, CUstream_st* stream) {
  if (x.lists_count == 0)
    return {};
  return launch_chained(compact_kernel, "launch of compact", dim3(x.lists_count), threads, 0, x,
                        stream);
}

} // namespace pikv::gpu::cuda
