// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/staging_ring.hpp>

#include <algorithm>
#include <utility>

#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {

namespace {

constexpr std::size_t alignment = 256; // coalesced reads begin at a full line

} // namespace

result<staging_ring> staging_ring::make(std::size_t bytes, host_copy with) {
  bytes = (bytes + alignment - 1) / alignment * alignment;
  std::byte *host = nullptr, *device = nullptr;
  if (with == host_copy::yes)
    PIKV_CUDA_TRY(cudaHostAlloc(reinterpret_cast<void**>(&host), bytes, cudaHostAllocMapped));
  if (const auto code = cudaMalloc(reinterpret_cast<void**>(&device), bytes); code != cudaSuccess) {
    cudaFreeHost(host);
    return cuda_error(code, "cudaMalloc of a staging buffer");
  }
  return staging_ring{host, device, bytes};
}

staging_ring::staging_ring(staging_ring&& x) noexcept
    : host_(std::exchange(x.host_, nullptr)), device_(std::exchange(x.device_, nullptr)),
      bytes_(x.bytes_), head_(x.head_), tail_(x.tail_), copied_(x.copied_),
      tasks_(std::move(x.tasks_)) {}

staging_ring::~staging_ring() {
  if (device_ == nullptr)
    return;
  cudaFreeHost(host_);
  cudaFree(device_);
}

std::optional<std::size_t> staging_ring::take(std::size_t bytes) noexcept {
  bytes = (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  if (head_ == tail_) // nothing is out
    head_ = tail_ = copied_ = 0;
  auto begin = head_;
  if (const auto place = begin % bytes_; place + bytes > bytes_)
    begin += bytes_ - place; // a piece is in one run
  if (begin + bytes - tail_ > bytes_)
    return std::nullopt;
  head_ = begin + bytes;
  return begin % bytes_;
}

void staging_ring::close(std::uint64_t task) {
  if (head_ != (tasks_.empty() ? tail_ : tasks_.back().end))
    tasks_.push_back({task, head_});
}

void staging_ring::release(std::uint64_t ended) noexcept {
  while (!tasks_.empty() && tasks_.front().task <= ended) {
    tail_ = tasks_.front().end;
    tasks_.pop_front();
  }
}

std::optional<std::uint64_t> staging_ring::oldest() const noexcept {
  return tasks_.empty() ? std::nullopt : std::optional{tasks_.front().task};
}

result<void> staging_ring::copy_new(CUstream_st* stream) {
  while (copied_ < head_) {
    const auto place = copied_ % bytes_;
    const auto n = std::min<std::uint64_t>(head_ - copied_, bytes_ - place);
    PIKV_CUDA_TRY(
        cudaMemcpyAsync(device_ + place, host_ + place, n, cudaMemcpyHostToDevice, stream));
    copied_ += n;
  }
  return {};
}

} // namespace pikv::gpu::cuda
