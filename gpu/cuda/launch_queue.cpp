// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/launch_queue.hpp>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include <fmt/format.h>

#include <pikv/gpu/cuda/attend.hpp>
#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {

namespace {

constexpr std::size_t first_chunk_bytes = std::size_t{4} << 20;
constexpr std::size_t alignment = 256; // of staged pieces: coalesced reads begin at a full line

/// Attention before copies and codecs where both are ready.
int priority_of(stream_role role) {
  int least = 0, greatest = 0;
  if (cudaDeviceGetStreamPriorityRange(&least, &greatest) != cudaSuccess)
    return 0;
  return role == stream_role::compute || role == stream_role::lane ? greatest : least;
}

} // namespace

result<std::shared_ptr<launch_queue>> launch_queue::make(int gpu, stream_role role) {
  std::shared_ptr<launch_queue> x{new launch_queue(gpu)};
  PIKV_CUDA_TRY(cudaSetDevice(gpu));
  PIKV_CUDA_TRY(
      cudaStreamCreateWithPriority(&x->stream_, cudaStreamNonBlocking, priority_of(role)));
  if (auto r = x->add_chunk(first_chunk_bytes); !r)
    return r.error();
  if (role == stream_role::compute)
    if (auto w = x->attend_workspace(); !w)
      return w.error();
  return x;
}

launch_queue::~launch_queue() {
  // At the end of a process the driver may be gone already: there is nobody to tell.
  cudaSetDevice(gpu_);
  if (stream_ != nullptr) {
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
  }
  for (const auto& c : chunks_) {
    cudaFreeHost(c.host);
    cudaFree(c.device);
  }
  cudaFree(workspace_);
}

result<void> launch_queue::add_chunk(std::size_t bytes) {
  chunk c;
  c.bytes = bytes;
  PIKV_CUDA_TRY(cudaHostAlloc(reinterpret_cast<void**>(&c.host), bytes, cudaHostAllocMapped));
  if (const auto code = cudaMalloc(reinterpret_cast<void**>(&c.device), bytes);
      code != cudaSuccess) {
    cudaFreeHost(c.host);
    return cuda_error(code, "cudaMalloc of a staging buffer");
  }
  chunks_.push_back(c);
  return {};
}

void launch_queue::begin() {
  cudaSetDevice(gpu_);
  if (busy_) // what was staged for the kernels before may still be on its way
    return;
  for (auto& c : chunks_)
    c.used = c.flushed = 0;
}

launch_queue::spot launch_queue::place(std::size_t bytes) {
  bytes = (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  for (std::size_t i = 0; i < chunks_.size(); ++i)
    if (auto& c = chunks_[i]; c.bytes - c.used >= bytes)
      return {i, std::exchange(c.used, c.used + bytes)};
  // Rare: a larger batch than ever before. This drains the GPU once.
  if (auto r = add_chunk(std::max(bytes, 2 * chunks_.back().bytes)); !r) {
    fail({errc::over_budget, r.error().what});
    throw std::bad_alloc();
  }
  chunks_.back().used = bytes;
  return {chunks_.size() - 1, 0};
}

const std::byte* launch_queue::put(std::span<const std::byte> x) {
  const auto where = place(x.size());
  if (!x.empty())
    std::memcpy(chunks_[where.chunk].host + where.offset, x.data(), x.size());
  return at(where);
}

result<void> launch_queue::flush() {
  busy_ = true;
  for (auto& c : chunks_) {
    if (c.used == c.flushed)
      continue;
    PIKV_CUDA_TRY(cudaMemcpyAsync(c.device + c.flushed, c.host + c.flushed, c.used - c.flushed,
                                  cudaMemcpyHostToDevice, stream_));
    c.flushed = c.used;
  }
  return {};
}

result<const std::byte*> launch_queue::fetch(const std::byte* device, std::size_t bytes) {
  for (const auto& c : chunks_) {
    if (device < c.device || device >= c.device + c.bytes)
      continue;
    auto* host = c.host + (device - c.device);
    PIKV_CUDA_TRY(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_));
    if (auto r = wait(); !r)
      return r.error();
    return host;
  }
  return error{errc::internal, "a result was fetched that was not staged"};
}

result<void> launch_queue::wait() {
  busy_ = false;
  return check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
}

result<std::byte*> launch_queue::attend_workspace() {
  if (workspace_ != nullptr)
    return workspace_;
  auto bytes = attend_workspace_bytes();
  if (!bytes)
    return bytes.error();
  std::byte* p = nullptr;
  PIKV_CUDA_TRY(cudaMalloc(reinterpret_cast<void**>(&p), *bytes));
  workspace_ = p;
  PIKV_CUDA_TRY(cudaMemsetAsync(p, 0, *bytes, stream_));
  return workspace_;
}

bool launch_queue::reachable(const void* p) noexcept {
  cudaPointerAttributes x{};
  if (cudaPointerGetAttributes(&x, p) != cudaSuccess) {
    cudaGetLastError(); // it must not be taken for one of a launch
    return false;
  }
  return x.type != cudaMemoryTypeUnregistered && x.devicePointer == p;
}

void launch_queue::fail(error e) noexcept {
  if (failed_.code == errc::ok)
    failed_ = std::move(e);
}

error launch_queue::finish() noexcept {
  if (busy_)
    if (auto r = wait(); !r)
      fail(r.error());
  return std::exchange(failed_, {});
}

void launch_queue::run_parts(std::size_t parts, part_fn f, void* context) noexcept {
  for (std::size_t i = 0; i < parts; ++i)
    f(context, i, 0);
}

} // namespace pikv::gpu::cuda
