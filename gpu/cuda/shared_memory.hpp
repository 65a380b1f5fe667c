// SPDX-License-Identifier: Apache-2.0
/// \file
/// Lets a kernel have more dynamic shared memory than the 48 KiB that every kernel may ask for.
#pragma once

#include <cstddef>

#include <cuda_runtime_api.h>

#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {

/// Call before a launch with `bytes` of dynamic shared memory. The permission belongs to the kernel
/// and the GPU, not to the launch, and threads launch the same kernel side by side: so it is always
/// raised to all that a block can have, never to what one launch needs, which could take from
/// another. Errors: those of CUDA.
inline result<void> allow_shared_memory(const void* kernel, std::size_t bytes) {
  constexpr std::size_t always_allowed = std::size_t{32} << 10; // leaves room for static arrays
  if (bytes <= always_allowed)
    return {};
  int gpu = 0, most = 0;
  cudaFuncAttributes own{};
  PIKV_CUDA_TRY(cudaGetDevice(&gpu));
  PIKV_CUDA_TRY(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, gpu));
  PIKV_CUDA_TRY(cudaFuncGetAttributes(&own, kernel));
  PIKV_CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     most - static_cast<int>(own.sharedSizeBytes)));
  return {};
}

} // namespace pikv::gpu::cuda
