// SPDX-License-Identifier: Apache-2.0
/// \file
/// Events of the CUDA backend: a CUDA event and whether it has been recorded yet, for a stream's
/// thread records it some time after it was asked for.
#pragma once

#include <atomic>

#include <pikv/gpu/device.hpp>

struct CUevent_st;
struct CUstream_st;

namespace pikv::gpu::cuda {

class cuda_event final : public event::impl {
public:
  cuda_event() = default;
  ~cuda_event() override;
  cuda_event(const cuda_event&) = delete;
  cuda_event& operator=(const cuda_event&) = delete;

  /// Once, with the stream's GPU current. Where the driver gives no event it waits for the stream.
  void record(CUstream_st* stream) noexcept;
  /// Lets the later work of `stream` wait. Blocks the calling thread until `record` was called.
  void hold(CUstream_st* stream) noexcept;

  bool done() const noexcept override;
  void wait() noexcept override;

private:
  CUevent_st* event_ = nullptr;
  std::atomic<bool> recorded_{false};
};

} // namespace pikv::gpu::cuda
