// SPDX-License-Identifier: Apache-2.0
/// \file
/// Gives the calling thread its current GPU back. Needs the CUDA headers.
#pragma once

#include <cuda_runtime_api.h>

namespace pikv::gpu::transport {

class device_guard {
public:
  device_guard() { known_ = cudaGetDevice(&gpu_) == cudaSuccess; }
  device_guard(const device_guard&) = delete;
  device_guard& operator=(const device_guard&) = delete;
  ~device_guard() {
    if (known_)
      cudaSetDevice(gpu_);
  }

private:
  int gpu_ = 0;
  bool known_ = false;
};

} // namespace pikv::gpu::transport
