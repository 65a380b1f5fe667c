// SPDX-License-Identifier: Apache-2.0
/// \file
/// Device memory and timed graphs for the GPU benchmarks. Failures end the program: a benchmark
/// has nobody to report to.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <utility>
#include <vector>

#include <cuda_runtime_api.h>

namespace pikv::bench {

inline void require(cudaError_t code, const char* what) {
  if (code == cudaSuccess)
    return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(code));
  std::exit(1);
}

class device_memory {
public:
  explicit device_memory(std::size_t bytes) {
    require(cudaMalloc(&data_, bytes), "cudaMalloc");
    require(cudaMemset(data_, 0, bytes), "cudaMemset");
  }
  template <class T>
  explicit device_memory(const std::vector<T>& x) : device_memory(x.size() * sizeof(T) + 64) {
    require(cudaMemcpy(data_, x.data(), x.size() * sizeof(T), cudaMemcpyDefault), "cudaMemcpy");
  }
  device_memory(device_memory&& x) noexcept : data_(std::exchange(x.data_, nullptr)) {}
  device_memory& operator=(device_memory&&) = delete;
  ~device_memory() { cudaFree(data_); }
  template <class T = std::byte>
  T* as() const {
    return static_cast<T*>(data_);
  }

private:
  void* data_ = nullptr;
};

/// Median microseconds of one of `count` launches made by `launch(i)`, replayed as one graph.
inline double time_launches(cudaStream_t stream, int count,
                            const std::function<void(int)>& launch) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin capture");
  for (int i = 0; i < count; ++i)
    launch(i);
  require(cudaStreamEndCapture(stream, &graph), "end capture");
  require(cudaGraphInstantiate(&exec, graph, 0), "instantiate");
  require(cudaEventCreate(&begin), "event");
  require(cudaEventCreate(&end), "event");
  std::vector<double> us;
  for (int i = 0; i < 9; ++i) {
    require(cudaEventRecord(begin, stream), "record");
    require(cudaGraphLaunch(exec, stream), "launch");
    require(cudaEventRecord(end, stream), "record");
    require(cudaEventSynchronize(end), "synchronize");
    float ms = 0;
    require(cudaEventElapsedTime(&ms, begin, end), "elapsed");
    if (i >= 2)
      us.push_back(1000.0 * static_cast<double>(ms) / count);
  }
  std::sort(us.begin(), us.end());
  require(cudaEventDestroy(begin), "event");
  require(cudaEventDestroy(end), "event");
  require(cudaGraphExecDestroy(exec), "graph");
  require(cudaGraphDestroy(graph), "graph");
  return us[us.size() / 2];
}

} // namespace pikv::bench
