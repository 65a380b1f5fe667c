// SPDX-License-Identifier: Apache-2.0
/// \file
/// Copies by the target's device, which hashes what has arrived; the source's device hashes what it
/// has. On one GPU, or on the host, the target does it all. For devices whose memory the target's
/// kernels reach: host devices, logical devices of one GPU, and GPUs with peer access
/// (gpu/cuda/peer_access.hpp).
#pragma once

#include <atomic>

#include <pikv/gpu/transport/page_mover.hpp>

namespace pikv::gpu::transport {

class copy_mover final : public page_mover {
public:
  /// errc::io_failed where a GPU gives no stream to hash on.
  static result<std::shared_ptr<copy_mover>> make(std::vector<end_point> ends);

  bool through_nccl() const noexcept override { return false; }
  /// Between GPUs moves to one device take turns on two streams: one copies while the other's host
  /// thread compares, and prepares the next.
  stream& stream_to(device_id target) noexcept override;
  result<void> move(const page_move& x, executor& e) override;
  /// Blocks until the moves on streams of its own have ended.
  void synchronize() const;

private:
  explicit copy_mover(std::vector<end_point> ends) : ends_(std::move(ends)) {}
  struct sums_of_source;
  std::shared_ptr<sums_of_source> hash_at_source(const page_move& x);

  const std::vector<end_point> ends_;
  /// One for each device of a GPU where there are several GPUs; they wait for nothing, so that moves
  /// in both directions do not wait for each other.
  std::vector<std::unique_ptr<stream>> hashes_;
  std::vector<std::unique_ptr<stream>> second_; ///< beside ends_[i].copies, likewise
  std::atomic<std::uint32_t> turn_{0};
};

} // namespace pikv::gpu::transport
