// SPDX-License-Identifier: Apache-2.0
/// \file
/// A stream of the CUDA backend: a thread that calls its tasks in order, each with a launch_queue
/// for its kernels. It goes on to the next task while the GPU is still at the last one; the GPU's
/// poller completes them. A task that has to read what a kernel left waits inside its call.
#pragma once

#include <memory>

#include <pikv/gpu/cuda/completion_poller.hpp>
#include <pikv/gpu/cuda/launch_queue.hpp>
#include <pikv/gpu/host/host_stream.hpp>

namespace pikv::gpu::cuda {

class cuda_stream final : public stream {
public:
  /// Throws std::system_error when the system refuses a thread.
  cuda_stream(std::shared_ptr<launch_queue> queue, completion_poller& poller,
              host_stream::options x);
  ~cuda_stream() override;

  void enqueue(task work, completion done = {}, const char* label = "task") override;
  event record() override;
  void wait(const event& earlier) override;
  stream_usage usage() const noexcept override { return usage_->get(); }
  void synchronize() override;

private:
  const std::shared_ptr<launch_queue> queue_;
  completion_poller& poller_;
  const std::chrono::microseconds spin_;
  const std::shared_ptr<busy_time> usage_ = std::make_shared<busy_time>();
  std::unique_ptr<host_stream> calls_;
};

} // namespace pikv::gpu::cuda
