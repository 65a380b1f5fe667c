// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a kernel has to be told once on each GPU before it is launched.
#pragma once

#include <cstddef>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <utility>

#include <cuda_runtime_api.h>

#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {

/// Calls `set_up(gpu)` for a kernel and the current GPU until it succeeds once: what it sets stays,
/// and setting it takes longer than a launch. Threads launch the same kernel side by side, so it may
/// run more than once and must always set the same.
template <class SetUp>
result<void> once_per_gpu(const void* kernel, SetUp set_up) {
  static std::shared_mutex mutex;
  static std::set<std::pair<const void*, int>> done;
  int gpu = 0;
  PIKV_CUDA_TRY(cudaGetDevice(&gpu));
  {
    const std::shared_lock guard{mutex};
    if (done.contains({kernel, gpu}))
      return {};
  }
  if (result<void> r = set_up(gpu); !r)
    return r;
  const std::lock_guard guard{mutex};
  done.insert({kernel, gpu});
  return {};
}

/// Call before a launch with `bytes` of dynamic shared memory. The permission belongs to the kernel
/// and the GPU, not to the launch, and threads launch the same kernel side by side: so it is always
/// raised to all that a block can have, never to what one launch needs, which could take from
/// another. Errors: those of CUDA.
inline result<void> allow_shared_memory(const void* kernel, std::size_t bytes) {
  constexpr std::size_t always_allowed = std::size_t{32} << 10; // leaves room for static arrays
  if (bytes <= always_allowed)
    return {};
  return once_per_gpu(kernel, [kernel](int gpu) -> result<void> {
    int most = 0;
    cudaFuncAttributes own{};
    PIKV_CUDA_TRY(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, gpu));
    PIKV_CUDA_TRY(cudaFuncGetAttributes(&own, kernel));
    PIKV_CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       most - static_cast<int>(own.sharedSizeBytes)));
    return {};
  });
}

/// Call before a launch of a kernel that may run beside others with much shared memory: a
/// multiprocessor that is set up otherwise has to be idle first.
inline result<void> prefer_shared_memory(const void* kernel) {
  return once_per_gpu(kernel, [kernel](int) {
    return check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                      cudaSharedmemCarveoutMaxShared),
                 "cudaFuncSetAttribute");
  });
}

} // namespace pikv::gpu::cuda
