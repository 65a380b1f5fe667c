// SPDX-License-Identifier: Apache-2.0
/// \file
/// Moves through NCCL: the source's GPU hashes the pages and sends them, the target's GPU receives
/// and hashes them, and the host compares. No kernel touches the memory of another GPU. Between
/// logical devices of one GPU its rank sends to itself.
///
/// One thread, one CUDA stream per GPU and one group belong to it, so that moves have one order and
/// never stand behind the copies of others. When a move fails, its kernels are aborted, and the
/// next move builds the group anew first. That allocates, which waits for all work of the GPUs.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <pikv/gpu/cuda/launch_queue.hpp>
#include <pikv/gpu/host/host_stream.hpp>
#include <pikv/gpu/transport/nccl/nccl_group.hpp>
#include <pikv/gpu/transport/page_mover.hpp>

namespace pikv::gpu::transport {

class nccl_mover final : public page_mover {
public:
  /// Blocks for seconds, as nccl_group::make does.
  static result<std::shared_ptr<nccl_mover>> make(std::vector<end_point> ends);
  ~nccl_mover() override;

  bool through_nccl() const noexcept override { return true; }
  stream& stream_to(device_id) noexcept override { return thread_; }
  result<void> move(const page_move& x, executor& e) override;

  /// The CUDA stream that sends from and receives on a device's GPU: for tests that hold it up.
  CUstream_st* native_stream(device_id x) const noexcept { return streams_[rank_of(x)]; }

private:
  struct in_flight;
  using queue_list = std::vector<std::shared_ptr<cuda::launch_queue>>;

  nccl_mover(std::vector<end_point> ends, std::vector<int> gpus, queue_list queues,
             std::unique_ptr<nccl_group> group);

  std::size_t rank_of(device_id x) const noexcept;
  result<void> recover(const page_move& x);
  result<void> enqueue(in_flight& f);
  result<void> exchange_pages(const page_move& x);
  result<void> hash(device_id where, const std::vector<block>& blocks, block& sums);
  result<void> finish(in_flight& f, result<void> enqueued);

  const std::vector<end_point> ends_;
  const std::vector<int> gpus_; ///< of each rank, ascending
  std::vector<in_flight> left_; ///< aborted moves: kernels may still write to their pages
  const queue_list queues_;     ///< [ranks]
  std::vector<CUstream_st*> streams_;
  const std::unique_ptr<nccl_group> group_;
  host_stream thread_; ///< goes first: its tasks use the others
};

} // namespace pikv::gpu::transport
