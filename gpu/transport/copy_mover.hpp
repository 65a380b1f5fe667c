// SPDX-License-Identifier: Apache-2.0
/// \file
/// Moves by the target's device alone: it hashes what it reads from the source, copies it and
/// hashes the copy. For devices whose memory the target's kernels reach: host devices, logical
/// devices of one GPU, and GPUs with peer access (gpu/cuda/peer_access.hpp).
#pragma once

#include <pikv/gpu/transport/page_mover.hpp>

namespace pikv::gpu::transport {

class copy_mover final : public page_mover {
public:
  explicit copy_mover(std::vector<end_point> ends) : ends_(std::move(ends)) {}

  bool through_nccl() const noexcept override { return false; }
  stream& stream_to(device_id target) noexcept override { return *ends_[target.value].copies; }
  result<void> move(const page_move& x, executor& e) override;

private:
  const std::vector<end_point> ends_;
};

} // namespace pikv::gpu::transport
