// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/transport/nccl/pair_probe.hpp>

#include <pikv/gpu/cuda/status.hpp>
#include <pikv/gpu/transport/nccl/device_guard.hpp>

namespace pikv::gpu::transport {

result<std::unique_ptr<pair_probe>> pair_probe::make(std::span<const int> gpus) {
  std::unique_ptr<pair_probe> x{new pair_probe(gpus)};
  if (auto r = x->allocate(); !r)
    return r.error();
  return x;
}

result<void> pair_probe::allocate() {
  const device_guard guard;
  for (const int gpu : gpus_) {
    PIKV_CUDA_TRY(cudaSetDevice(gpu));
    PIKV_CUDA_TRY(
        cudaStreamCreateWithFlags(&streams_.emplace_back(nullptr), cudaStreamNonBlocking));
    void* p = nullptr;
    PIKV_CUDA_TRY(cudaMalloc(&p, 2 * gpus_.size()));
    memory_.push_back(static_cast<std::byte*>(p));
  }
  return {};
}

pair_probe::~pair_probe() {
  const device_guard guard;
  for (std::size_t rank = 0; rank < streams_.size(); ++rank) {
    cudaSetDevice(gpus_[rank]);
    if (rank < memory_.size())
      cudaFree(memory_[rank]);
    if (streams_[rank] != nullptr)
      cudaStreamDestroy(streams_[rank]);
  }
}

std::vector<exchange> pair_probe::all_pairs() const {
  std::vector<exchange> x;
  const std::size_t ranks = memory_.size();
  for (std::size_t from = 0; from < ranks; ++from)
    for (std::size_t to = 0; to < ranks; ++to)
      x.push_back({static_cast<int>(from), static_cast<int>(to), memory_[from] + to,
                   memory_[to] + ranks + from, 1});
  return x;
}

} // namespace pikv::gpu::transport
