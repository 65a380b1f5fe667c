// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/cuda_event.hpp>

#include <cuda_runtime_api.h>

namespace pikv::gpu::cuda {

cuda_event::~cuda_event() {
  if (event_ != nullptr)
    cudaEventDestroy(event_);
}

void cuda_event::record(CUstream_st* stream) noexcept {
  // Made here, not where somebody asks for it: an event belongs to the GPU of its stream, which is
  // current now. A failure is one of the GPU itself, which the stream's tasks report.
  if (cudaEventCreateWithFlags(&event_, cudaEventDisableTiming) != cudaSuccess)
    event_ = nullptr;
  if (event_ == nullptr)
    cudaStreamSynchronize(stream);
  else
    cudaEventRecord(event_, stream);
  recorded_.store(true, std::memory_order_release);
  recorded_.notify_all();
}

void cuda_event::hold(CUstream_st* stream) noexcept {
  recorded_.wait(false, std::memory_order_acquire);
  if (event_ != nullptr)
    cudaStreamWaitEvent(stream, event_, 0);
}

bool cuda_event::done() const noexcept {
  return recorded_.load(std::memory_order_acquire)
         && (event_ == nullptr || cudaEventQuery(event_) != cudaErrorNotReady);
}

void cuda_event::wait() noexcept {
  recorded_.wait(false, std::memory_order_acquire);
  if (event_ != nullptr)
    cudaEventSynchronize(event_);
}

} // namespace pikv::gpu::cuda
