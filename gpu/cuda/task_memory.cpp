// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/task_memory.hpp>

#include <algorithm>
#include <new>

#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {

namespace {

constexpr std::size_t staging_bytes = std::size_t{4} << 20;
/// What the pool keeps for the next large piece instead of giving it back to the system.
constexpr std::uint64_t pool_keeps = std::uint64_t{256} << 20;

result<CUmemPoolHandle_st*> make_pool(int gpu) {
  cudaMemPoolProps x{};
  x.allocType = cudaMemAllocationTypePinned;
  x.location = {cudaMemLocationTypeDevice, gpu};
  CUmemPoolHandle_st* pool = nullptr;
  PIKV_CUDA_TRY(cudaMemPoolCreate(&pool, &x));
  auto keeps = pool_keeps;
  if (const auto code = cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keeps);
      code != cudaSuccess) {
    cudaMemPoolDestroy(pool);
    return cuda_error(code, "cudaMemPoolSetAttribute");
  }
  return pool;
}

} // namespace

result<std::unique_ptr<task_memory>> task_memory::make(int gpu, CUstream_st* stream,
                                                       std::size_t working_bytes, await_fn await) {
  auto uploads = staging_ring::make(staging_bytes);
  if (!uploads)
    return uploads.error();
  auto results = staging_ring::make(staging_bytes);
  if (!results)
    return results.error();
  auto working = staging_ring::make(working_bytes, staging_ring::host_copy::no);
  if (!working)
    return working.error();
  std::unique_ptr<task_memory> x{new task_memory(stream, std::move(await), std::move(*uploads),
                                                 std::move(*results), std::move(*working))};
  auto pool = make_pool(gpu);
  if (!pool)
    return pool.error();
  x->pool_ = *pool;
  return x;
}

task_memory::~task_memory() {
  close(0);
  if (pool_ != nullptr)
    cudaMemPoolDestroy(pool_); // the memory goes when the last piece is free
}

task_memory::large_piece& task_memory::add_large(std::size_t bytes) {
  large_piece x;
  x.bytes = bytes;
  void* p = nullptr;
  if (cudaMallocFromPoolAsync(&p, bytes, pool_, stream_) != cudaSuccess) {
    cudaGetLastError(); // it must not be taken for one of a launch
    throw std::bad_alloc();
  }
  x.device = static_cast<std::byte*>(p);
  return large_.emplace_back(std::move(x));
}

task_memory::piece task_memory::take(staging_ring& ring, std::size_t bytes) {
  auto at = ring.take(bytes);
  while (!at) {
    const auto before = ring.oldest();
    if (!before || !await_(*before))
      break; // the running task alone needs more, or the GPU failed
    ring.release(*before);
    at = ring.take(bytes);
  }
  if (at)
    return {ring.host(*at), ring.device(*at)};
  auto& x = add_large(bytes);
  x.host = std::make_unique_for_overwrite<std::byte[]>(bytes);
  x.to_copy = &ring == &uploads_;
  return {x.host.get(), x.device};
}

std::byte* task_memory::work(std::size_t bytes) {
  const auto at = working_.take(bytes);
  return at ? working_.device(*at) : add_large(bytes).device;
}

std::byte* task_memory::host_of(const std::byte* device) const noexcept {
  if (results_.holds(device))
    return results_.host(static_cast<std::size_t>(device - results_.device(0)));
  for (const auto& x : large_)
    if (x.host && device >= x.device && device < x.device + x.bytes)
      return x.host.get() + (device - x.device);
  return nullptr;
}

bool task_memory::has_new() const noexcept {
  return uploads_.has_new() || std::ranges::any_of(large_, &large_piece::to_copy);
}

result<void> task_memory::copy_new(CUstream_st* stream) {
  for (auto& x : large_) {
    if (!x.to_copy)
      continue;
    // Behind its allocation, whatever the other copies follow; from pageable memory, which CUDA has
    // read when the call returns.
    PIKV_CUDA_TRY(
        cudaMemcpyAsync(x.device, x.host.get(), x.bytes, cudaMemcpyHostToDevice, stream_));
    x.to_copy = false;
  }
  return uploads_.has_new() ? uploads_.copy_new(stream) : result<void>{};
}

void task_memory::close(std::uint64_t task) {
  for (auto& x : large_)
    cudaFreeAsync(x.device, stream_);
  large_.clear();
  for (auto* ring : {&uploads_, &results_, &working_})
    ring->close(task);
}

void task_memory::release(std::uint64_t ended) noexcept {
  for (auto* ring : {&uploads_, &results_, &working_})
    ring->release(ended);
}

} // namespace pikv::gpu::cuda
