// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/launch_queue.hpp>

#include <algorithm>
#include <cstring>
#include <new>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include <pikv/gpu/cuda/attend.hpp>
#include <pikv/gpu/cuda/driver.hpp>
#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {

namespace {

/// Choices take some MB a layer (8 x 32k tokens: 2.2), and several layers should fit ahead of the
/// GPU: with room for one and a half the stream's thread spends 43% of its time waiting.
constexpr std::size_t choosing_bytes = std::size_t{32} << 20;
constexpr std::size_t other_bytes = std::size_t{256} << 10;

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
  PIKV_CUDA_TRY(cudaStreamCreateWithPriority(&x->side_, cudaStreamNonBlocking, priority_of(role)));
  PIKV_CUDA_TRY(cudaEventCreateWithFlags(&x->uploaded_, cudaEventDisableTiming));
  PIKV_CUDA_TRY(
      cudaHostAlloc(reinterpret_cast<void**>(&x->ended_), sizeof *x->ended_, cudaHostAllocMapped));
  *x->ended_ = 0;
  auto memory = task_memory::make(gpu, x->stream_,
                                  role == stream_role::compute ? choosing_bytes : other_bytes,
                                  [q = x.get()](std::uint64_t task) { return q->await(task); });
  if (!memory)
    return memory.error();
  x->memory_ = std::move(*memory);
  if (role == stream_role::compute)
    if (auto w = x->attend_workspace(); !w)
      return w.error();
  return x;
}

launch_queue::~launch_queue() {
  // At the end of a process the driver may be gone already: there is nobody to tell.
  cudaSetDevice(gpu_);
  if (stream_ != nullptr)
    cudaStreamSynchronize(stream_);
  memory_.reset(); // its large pieces are free in the stream's order
  if (stream_ != nullptr)
    cudaStreamDestroy(stream_);
  if (side_ != nullptr)
    cudaStreamDestroy(side_); // its copies ended before kernels of the other stream began
  if (uploaded_ != nullptr)
    cudaEventDestroy(uploaded_);
  for (const auto& x : helpers_) { // the stream came behind them
    cudaStreamDestroy(x.stream);
    cudaEventDestroy(x.event);
  }
  cudaFreeHost(ended_);
  cudaFree(workspace_);
}

void launch_queue::begin() noexcept { cudaSetDevice(gpu_); }

const std::byte* launch_queue::put(std::span<const std::byte> x) {
  const auto where = stage(x.size());
  if (!x.empty())
    std::memcpy(where.host, x.data(), x.size());
  return where.device;
}

result<void> launch_queue::flush() {
  // Pieces belong to no earlier task that still runs, so nothing orders their copies.
  const bool beside = number_ > 0 && !ended(number_);
  if (!memory_->has_new())
    return {};
  if (auto r = memory_->copy_new(beside ? side_ : stream_); !r || !beside)
    return r;
  PIKV_CUDA_TRY(cudaEventRecord(uploaded_, side_));
  return check(cudaStreamWaitEvent(stream_, uploaded_, 0), "cudaStreamWaitEvent");
}

result<const std::byte*> launch_queue::fetch(const std::byte* device, std::size_t bytes) {
  auto* host = memory_->host_of(device);
  if (host == nullptr)
    return error{errc::internal, "a result was fetched that was not reserved for it"};
  PIKV_CUDA_TRY(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_));
  if (auto r = wait(); !r)
    return r.error();
  return host;
}

result<void> launch_queue::wait() {
  return check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
}

result<void> launch_queue::spread(std::size_t n,
                                  const std::function<result<void>(std::size_t, CUstream_st*)>& f) {
  while (helpers_.size() + 1 < n) {
    helper x;
    PIKV_CUDA_TRY(cudaStreamCreateWithFlags(&x.stream, cudaStreamNonBlocking));
    if (const auto code = cudaEventCreateWithFlags(&x.event, cudaEventDisableTiming);
        code != cudaSuccess) {
      cudaStreamDestroy(x.stream);
      return cuda_error(code, "cudaEventCreateWithFlags");
    }
    helpers_.push_back(x);
  }
  if (n > 1)
    PIKV_CUDA_TRY(cudaEventRecord(uploaded_, stream_)); // any event: it is waited for at once
  for (std::size_t i = 0; i + 1 < n; ++i)
    PIKV_CUDA_TRY(cudaStreamWaitEvent(helpers_[i].stream, uploaded_, 0));
  result<void> outcome;
  for (std::size_t i = 0; i < n && outcome; ++i)
    outcome = f(i, i == 0 ? stream_ : helpers_[i - 1].stream);
  for (std::size_t i = 0; i + 1 < n; ++i) { // also after a failure: the rest has begun
    PIKV_CUDA_TRY(cudaEventRecord(helpers_[i].event, helpers_[i].stream));
    PIKV_CUDA_TRY(cudaStreamWaitEvent(stream_, helpers_[i].event, 0));
  }
  return outcome;
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
  if (left_.failed.code == errc::ok)
    left_.failed = std::move(e);
}

launch_queue::leftover launch_queue::close() {
  const auto last = std::atomic_ref{*ended_}.load(std::memory_order_acquire);
  const auto ended = number_ - (static_cast<std::uint32_t>(number_) - last);
  ++number_;
  choice_ = {};
  memory_->release(ended);
  memory_->close(number_);
  left_.number = number_;
  if (auto r = write_value(stream_, ended_, static_cast<std::uint32_t>(number_)); !r) {
    fail(r.error());
    left_.number = 0;
  }
  return std::exchange(left_, {});
}

bool launch_queue::ended(std::uint64_t number) const noexcept {
  const auto last = std::atomic_ref{*ended_}.load(std::memory_order_acquire);
  return static_cast<std::int32_t>(last - static_cast<std::uint32_t>(number)) >= 0;
}

error launch_queue::trouble() const noexcept {
  const auto code = cudaStreamQuery(stream_);
  return code == cudaSuccess || code == cudaErrorNotReady ? error{}
                                                          : cuda_error(code, "work on the GPU");
}

/// False when the GPU failed.
bool launch_queue::await(std::uint64_t number) noexcept {
  for (std::uint32_t i = 1; !ended(number); ++i) {
    if (i % 1024 == 0 && trouble().code != errc::ok)
      return false;
    std::this_thread::yield();
  }
  return true;
}

error launch_queue::finish() noexcept {
  auto left = close();
  if (auto r = wait(); !r && left.failed.code == errc::ok)
    left.failed = r.error();
  for (const auto& f : left.after)
    f();
  return left.failed;
}

void launch_queue::run_parts(std::size_t parts, part_fn f, void* context) noexcept {
  for (std::size_t i = 0; i < parts; ++i)
    f(context, i, 0);
}

} // namespace pikv::gpu::cuda
