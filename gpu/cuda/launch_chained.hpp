// SPDX-License-Identifier: Apache-2.0
/// \file
/// Launches of kernels that follow one another closely: routes, selections, compactions.
#pragma once

#include <cstddef>

#include <cuda_runtime_api.h>

#include <pikv/gpu/cuda/shared_memory.hpp>
#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {

/// Launches a kernel that may begin before the one ahead of it in the stream has ended; with `early`
/// false one that begins behind everything ahead of it.
template <class Args>
result<void> launch_chained(void (*kernel)(Args), const char* name, dim3 grid, unsigned threads,
                            std::size_t shared, const Args& args, CUstream_st* stream,
                            bool early = true) {
  int device = 0, major = 0;
  PIKV_CUDA_TRY(cudaGetDevice(&device));
  PIKV_CUDA_TRY(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  // As for the scores: multiprocessors that are set up otherwise would have to be idle first.
  if (auto r = prefer_shared_memory(reinterpret_cast<const void*>(kernel)); !r)
    return r;
  if (auto r = allow_shared_memory(reinterpret_cast<const void*>(kernel), shared); !r)
    return r;
  cudaLaunchAttribute serialization{};
  serialization.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  serialization.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  config.attrs = &serialization;
  config.numAttrs = early && major >= 9 ? 1 : 0;
  return check(cudaLaunchKernelEx(&config, kernel, args), name);
}

} // namespace pikv::gpu::cuda
