// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/driver.hpp>

#include <string>

#include <cuda.h>

#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {

namespace {

void* entry_point(const char* name, unsigned version) noexcept {
  void* p = nullptr;
  cudaDriverEntryPointQueryResult found{};
#if CUDART_VERSION >= 12050
  const auto code =
      cudaGetDriverEntryPointByVersion(name, &p, version, cudaEnableDefault, &found);
#else
  static_cast<void>(version);
  const auto code = cudaGetDriverEntryPoint(name, &p, cudaEnableDefault, &found);
#endif
  if (code != cudaSuccess)
    cudaGetLastError();
  return code == cudaSuccess && found == cudaDriverEntryPointSuccess ? p : nullptr;
}

using value_call = CUresult (*)(CUstream, CUdeviceptr, cuuint32_t, unsigned);

result<void> call(value_call f, const char* name, CUstream_st* stream, std::uint32_t* at,
                  std::uint32_t value, unsigned flags) {
  if (f == nullptr)
    return {errc::unsupported, std::string{"the CUDA driver has no "} + name + "; update it"};
  if (const auto code = f(stream, reinterpret_cast<CUdeviceptr>(at), value, flags);
      code != CUDA_SUCCESS)
    return {errc::internal, std::string{name} + ": CUDA driver error " + std::to_string(code)};
  return {};
}

} // namespace

result<void> write_value(CUstream_st* stream, std::uint32_t* at, std::uint32_t value) {
  static const auto f = reinterpret_cast<value_call>(entry_point("cuStreamWriteValue32", 12000));
  return call(f, "cuStreamWriteValue32", stream, at, value, CU_STREAM_WRITE_VALUE_DEFAULT);
}

result<void> wait_value(CUstream_st* stream, std::uint32_t* at, std::uint32_t value) {
  static const auto f = reinterpret_cast<value_call>(entry_point("cuStreamWaitValue32", 12000));
  return call(f, "cuStreamWaitValue32", stream, at, value, CU_STREAM_WAIT_VALUE_GEQ);
}

bool loads_eagerly() noexcept {
  using mode_call = CUresult (*)(CUmoduleLoadingMode*);
  static const auto f = reinterpret_cast<mode_call>(entry_point("cuModuleGetLoadingMode", 12000));
  CUmoduleLoadingMode mode{};
  return f != nullptr && f(&mode) == CUDA_SUCCESS && mode == CU_MODULE_EAGER_LOADING;
}

} // namespace pikv::gpu::cuda
