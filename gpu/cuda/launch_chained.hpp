// SPDX-License-Identifier: Apache-2.0
/// \file
/// Launches of kernels that follow one another closely: routes, selections, compactions.
#pragma once

#include <cstddef>

#include <cuda_runtime_api.h>

#include <pikv/gpu/cuda/shared_memory.hpp>
#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {

/// Launches a kernel that may begin before the one ahead of it in the stream has ended; with
/// `early` false one that begins behind everything ahead of it. `cluster`: neighbouring blocks
/// along x that run together, above 1 on sm_90 and newer only.
template <class Args>
result<void> launch_chained(void (*kernel)(Args), const char* name, dim3 grid, unsigned threads,
                            std::size_t shared, const Args& args, CUstream_st* stream,
                            bool early = true, unsigned cluster = 1) {
  int device = 0, major = 0;
  PIKV_CUDA_TRY(cudaGetDevice(&device));
  PIKV_CUDA_TRY(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  // As for the scores: multiprocessors that are set up otherwise would have to be idle first.
  if (auto r = prefer_shared_memory(reinterpret_cast<const void*>(kernel)); !r)
    return r;
  if (auto r = allow_shared_memory(reinterpret_cast<const void*>(kernel), shared); !r)
    return r;
  cudaLaunchAttribute attributes[2]{};
  unsigned count = 0;
  if (early && major >= 9) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count++].val.clusterDim = {cluster, 1, 1};
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = count;
  return check(cudaLaunchKernelEx(&config, kernel, args), name);
}

} // namespace pikv::gpu::cuda
