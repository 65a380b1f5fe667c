// SPDX-License-Identifier: Apache-2.0
/// \file
/// A stream of the CUDA backend: a thread that runs its tasks in order, as on the host, each with a
/// launch_queue for its kernels. A task has ended when the GPU has done what it enqueued; streams
/// run side by side, on the GPU too.
#pragma once

#include <memory>

#include <pikv/gpu/cuda/launch_queue.hpp>
#include <pikv/gpu/host/host_stream.hpp>

namespace pikv::gpu::cuda {

class cuda_stream final : public stream {
public:
  /// Throws std::system_error when the system refuses a thread.
  cuda_stream(std::shared_ptr<launch_queue> queue, host_stream::options x)
      : queue_(queue), thread_(std::move(queue), std::move(x)) {}

  void enqueue(task work, completion done = {}, const char* label = "task") override;
  event record() override { return thread_.record(); }
  void wait(const event& earlier) override { thread_.wait(earlier); }
  stream_usage usage() const noexcept override { return thread_.usage(); }
  void synchronize() override { thread_.synchronize(); }

private:
  const std::shared_ptr<launch_queue> queue_;
  host_stream thread_;
};

} // namespace pikv::gpu::cuda
