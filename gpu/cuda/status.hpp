// SPDX-License-Identifier: Apache-2.0
/// \file
/// CUDA status codes as PiKV errors. Needs the CUDA headers: for .cu files and CUDA-only .cpp
/// files.
#pragma once

#include <string>
#include <string_view>

#include <cuda_runtime_api.h>

#include <pikv/messages/error.hpp>

namespace pikv::gpu::cuda {

/// "cudaLaunchKernel: cudaErrorInvalidValue (invalid argument)", as errc::internal.
inline pikv::error cuda_error(cudaError_t code, std::string_view call) {
  std::string what(call);
  what += ": ";
  what += cudaGetErrorName(code);
  what += " (";
  what += cudaGetErrorString(code);
  what += ')';
  return {errc::internal, std::move(what)};
}

/// The outcome of `call` as a result.
inline result<void> check(cudaError_t code, std::string_view call) {
  if (code == cudaSuccess)
    return {};
  return cuda_error(code, call);
}

/// The outcome of the launch just made of kernel `name`. Clears the error, so that it is not taken
/// for one of a later call.
inline result<void> check_launch(std::string_view name) {
  return check(cudaGetLastError(), std::string("launch of ").append(name));
}

} // namespace pikv::gpu::cuda

/// Returns from the enclosing function (of type result<T>) when a CUDA call fails.
#define PIKV_CUDA_TRY(call)                                                                        \
  do {                                                                                             \
    if (const cudaError_t pikv_cuda_code = (call); pikv_cuda_code != cudaSuccess)                  \
      return ::pikv::gpu::cuda::cuda_error(pikv_cuda_code, #call);                                 \
  } while (false)
