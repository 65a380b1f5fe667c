// SPDX-License-Identifier: Apache-2.0
/// \file
/// Memory and streams for one byte between every pair of ranks: what a new group sends, because
/// NCCL connects two ranks at their first exchange and loads its kernels at the first launch, and
/// both wait for all work of the GPUs.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include <pikv/gpu/transport/nccl/nccl_group.hpp>

namespace pikv::gpu::transport {

class pair_probe {
public:
  static result<std::unique_ptr<pair_probe>> make(std::span<const int> gpus);
  pair_probe(const pair_probe&) = delete;
  pair_probe& operator=(const pair_probe&) = delete;
  ~pair_probe(); ///< frees the memory, which waits for the GPUs

  std::span<CUstream_st* const> streams() const noexcept { return streams_; }
  std::vector<exchange> all_pairs() const;

private:
  explicit pair_probe(std::span<const int> gpus) : gpus_(gpus.begin(), gpus.end()) {}
  result<void> allocate();

  const std::vector<int> gpus_;
  std::vector<CUstream_st*> streams_; ///< [ranks]
  std::vector<std::byte*> memory_;    ///< [ranks][2, ranks] bytes: sent to and received from each
};

} // namespace pikv::gpu::transport
