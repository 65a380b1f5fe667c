// SPDX-License-Identifier: Apache-2.0
/// \file
/// A stream and timing events on each GPU of a bench. Live as long as the program.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "device_memory.hpp"

namespace pikv::bench {

/// Until it goes, `gpu` is the calling thread's.
class on_gpu {
public:
  explicit on_gpu(int gpu) {
    require(cudaGetDevice(&before_), "cudaGetDevice");
    require(cudaSetDevice(gpu), "cudaSetDevice");
  }
  on_gpu(const on_gpu&) = delete;
  on_gpu& operator=(const on_gpu&) = delete;
  ~on_gpu() { cudaSetDevice(before_); }

private:
  int before_ = 0;
};

struct gpu_stream {
  int gpu;
  cudaStream_t stream = nullptr;
  cudaEvent_t reached = nullptr; ///< to order streams of several GPUs

  explicit gpu_stream(int id) : gpu(id) {
    const on_gpu here(gpu);
    require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
    require(cudaEventCreateWithFlags(&reached, cudaEventDisableTiming), "event");
  }

  /// Later work of `other` comes behind what this stream has now.
  void before(const gpu_stream& other) const {
    {
      const on_gpu here(gpu);
      require(cudaEventRecord(reached, stream), "record");
    }
    const on_gpu there(other.gpu);
    require(cudaStreamWaitEvent(other.stream, reached, 0), "wait");
  }
};

/// Median microseconds from before `call` to behind it in the stream of `at`, of 31 calls on idle
/// GPUs.
inline double time_calls(const gpu_stream& at, const std::function<void()>& call) {
  const on_gpu here(at.gpu);
  cudaEvent_t begin = nullptr, end = nullptr;
  require(cudaEventCreate(&begin), "event");
  require(cudaEventCreate(&end), "event");
  std::vector<double> us;
  for (int i = 0; i < 34; ++i) {
    require(cudaEventRecord(begin, at.stream), "record");
    call();
    require(cudaEventRecord(end, at.stream), "record");
    require(cudaEventSynchronize(end), "synchronize");
    float ms = 0;
    require(cudaEventElapsedTime(&ms, begin, end), "elapsed");
    if (i >= 3)
      us.push_back(1000.0 * static_cast<double>(ms));
  }
  std::ranges::sort(us);
  require(cudaEventDestroy(begin), "event");
  require(cudaEventDestroy(end), "event");
  return us[us.size() / 2];
}

/// Peer access between all GPUs, both ways; where a pair has none the program ends.
inline void connect_all(int gpus) {
  for (int a = 0; a < gpus; ++a)
    for (int b = 0; b < gpus; ++b) {
      if (a == b)
        continue;
      const on_gpu here(a);
      const auto code = cudaDeviceEnablePeerAccess(b, 0);
      if (code == cudaErrorPeerAccessAlreadyEnabled)
        cudaGetLastError();
      else
        require(code, "peer access");
    }
}

} // namespace pikv::bench
