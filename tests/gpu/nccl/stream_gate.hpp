// SPDX-License-Identifier: Apache-2.0
/// \file
/// Holds up a CUDA stream.
#pragma once

#include <condition_variable>
#include <mutex>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

namespace pikv::test {

/// What the stream is given later waits until the gate is opened, which the end of its scope does
/// at the latest.
class stream_gate {
public:
  explicit stream_gate(cudaStream_t stream) : stream_(stream) {
    EXPECT_EQ(cudaLaunchHostFunc(stream, &stream_gate::hold, this), cudaSuccess);
  }
  stream_gate(const stream_gate&) = delete;
  stream_gate& operator=(const stream_gate&) = delete;
  ~stream_gate() {
    open();
    cudaStreamSynchronize(stream_); // it uses this object
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    opened_.notify_all();
  }

private:
  static void hold(void* self) {
    auto& x = *static_cast<stream_gate*>(self);
    std::unique_lock lock(x.mutex_);
    x.opened_.wait(lock, [&x] { return x.open_; });
  }

  const cudaStream_t stream_;
  std::mutex mutex_;
  std::condition_variable opened_;
  bool open_ = false;
};

} // namespace pikv::test
