// SPDX-License-Identifier: Apache-2.0
#include "cuda_info.hpp"

#ifdef PIKV_HAS_CUDA
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "text_table.hpp"
#endif

namespace pikv::tools {

#ifndef PIKV_HAS_CUDA

std::vector<std::string> cuda_lines() { return {"built without"}; }

#else

std::vector<std::string> cuda_lines() {
  std::vector<std::string> out{
      fmt::format("built with toolkit {}.{}", CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10)};
  int devices = 0;
  if (const auto status = cudaGetDeviceCount(&devices); status != cudaSuccess) {
    out.push_back(fmt::format("no devices: {}", cudaGetErrorString(status)));
    return out;
  }
  if (devices == 0)
    out.emplace_back("no devices");
  for (int i = 0; i < devices; ++i) {
    cudaDeviceProp found{};
    if (const auto status = cudaGetDeviceProperties(&found, i); status != cudaSuccess) {
      out.push_back(fmt::format("device {}: {}", i, cudaGetErrorString(status)));
      continue;
    }
    out.push_back(fmt::format("device {}: {}, compute {}.{}, {} multiprocessors, {}", i,
                              static_cast<const char*>(found.name), found.major, found.minor,
                              found.multiProcessorCount,
                              bytes_text(static_cast<double>(found.totalGlobalMem))));
  }
  return out;
}

#endif

} // namespace pikv::tools
