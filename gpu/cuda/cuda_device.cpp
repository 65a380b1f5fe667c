// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/cuda_device.hpp>

#include <system_error>
#include <utility>

#include <fmt/format.h>

#include <pikv/gpu/cuda/attend.hpp>
#include <pikv/gpu/cuda/cuda_event.hpp>
#include <pikv/gpu/cuda/cuda_stream.hpp>
#include <pikv/gpu/cuda/cuda_ticket.hpp>
#include <pikv/gpu/cuda/held_forms.hpp>
#include <pikv/gpu/cuda/peer_access.hpp>
#include <pikv/gpu/cuda/resident_table.hpp>
#include <pikv/gpu/cuda/status.hpp>
#include <pikv/gpu/memory/slab_arena.hpp>

namespace pikv::gpu::cuda {

namespace {

class cuda_device final : public device {
public:
  cuda_device(const device_options& x, int gpu, std::string name, slab_arena_ptr memory,
              slab_arena_ptr scratch, slab_arena_ptr exchange)
      : options_(x), gpu_(gpu), name_(std::move(name)), memory_(std::move(memory)),
        scratch_(std::move(scratch)), exchange_(std::move(exchange)) {}

  device_id id() const noexcept override { return options_.id; }
  std::string_view backend() const noexcept override { return "cuda"; }
  int gpu() const noexcept override { return gpu_; }
  bool reaches(const void* p) const noexcept override { return can_reach(gpu_, p); }
  arena& memory() noexcept override { return *memory_; }
  arena& scratch() noexcept override { return *scratch_; }
  arena& exchange() noexcept override { return exchange_ ? *exchange_ : *scratch_; }
  const kernel_table& kernels() const noexcept override { return cuda_kernels(); }

  result<void> supports(const cache_dims& dims, form raw) const override {
    if (raw == form::f32)
      return {errc::unsupported, "GPUs keep raw pages in f16 or bf16; set cache.dtype to one"};
    PIKV_CUDA_TRY(cudaSetDevice(gpu_));
    return attend_prepare(dims);
  }

  std::span<const form> forms() const noexcept override { return held_forms; }

  std::shared_ptr<table_mirror> make_mirror() override {
    return std::make_shared<resident_table>(*memory_);
  }

  std::unique_ptr<stream> make_stream(stream_role role) override {
    auto queue = launch_queue::make(gpu_, role);
    if (!queue)
      return nullptr;
    try {
      return std::make_unique<cuda_stream>(
          std::move(*queue), gpu_,
          host_stream::options{.name = fmt::format("pikv{}.{}", options_.id.value, to_string(role)),
                               .spin = options_.spin,
                               .fault = {}});
    } catch (const std::system_error&) {
      return nullptr;
    }
  }

  result<event> follow(void* native_stream) override {
    auto x = std::make_shared<cuda_event>();
    x->record(static_cast<CUstream_st*>(native_stream));
    return event(std::move(x));
  }

  result<std::shared_ptr<ticket>> make_ticket(bool by_host) override {
    return make_cuda_ticket(by_host);
  }

  std::string describe() const override {
    return fmt::format("cuda: GPU {}, {}, {:.1f} GiB for pages", gpu_, name_,
                       static_cast<double>(options_.memory_bytes) / (1 << 30));
  }

private:
  const device_options options_;
  const int gpu_;
  const std::string name_;
  const slab_arena_ptr memory_;
  const slab_arena_ptr scratch_;
  const slab_arena_ptr exchange_; ///< null: none was asked for
};

/// Whole extents of the arena; a budget below one is useless anyway.
std::size_t whole(std::size_t bytes) { return (bytes + 4095) / 4096 * 4096; }

result<std::unique_ptr<memory_source>> device_region(int gpu, std::size_t bytes) {
  void* p = nullptr;
  if (const auto code = cudaMalloc(&p, whole(bytes)); code != cudaSuccess) {
    cudaGetLastError();
    return error{errc::over_budget,
                 fmt::format("GPU {} has no {} bytes left; lower devices.memory ({})", gpu, bytes,
                             cudaGetErrorString(code))};
  }
  return std::unique_ptr<memory_source>{
      std::make_unique<region_source>(static_cast<std::byte*>(p), whole(bytes), [p, gpu] {
        cudaSetDevice(gpu);
        cudaFree(p);
      })};
}

result<std::unique_ptr<memory_source>> host_region(std::size_t bytes) {
  void* p = nullptr;
  if (const auto code =
          cudaHostAlloc(&p, whole(bytes), cudaHostAllocMapped | cudaHostAllocPortable);
      code != cudaSuccess) {
    cudaGetLastError();
    return error{errc::over_budget,
                 fmt::format("the system pins no {} bytes of host memory; lower devices.scratch "
                             "({})",
                             bytes, cudaGetErrorString(code))};
  }
  return std::unique_ptr<memory_source>{std::make_unique<region_source>(
      static_cast<std::byte*>(p), whole(bytes), [p] { cudaFreeHost(p); })};
}

} // namespace

result<std::shared_ptr<device>> make_cuda_device(const device_options& x) {
  int gpus = 0;
  if (const auto code = cudaGetDeviceCount(&gpus); code != cudaSuccess || gpus == 0) {
    cudaGetLastError();
    return {errc::unsupported,
            fmt::format("there is no GPU to use ({}); set devices.backend to host",
                        code == cudaSuccess ? "none found" : cudaGetErrorString(code))};
  }
  const int gpu = static_cast<int>(x.id.value % static_cast<std::uint32_t>(gpus));
  if (auto r = connect_to_peers(gpu, x.peers_required); !r)
    return r.error();
  cudaDeviceProp properties{};
  PIKV_CUDA_TRY(cudaGetDeviceProperties(&properties, gpu));
  auto memory = device_region(gpu, x.memory_bytes);
  if (!memory)
    return memory.error();
  auto scratch = host_region(x.scratch_bytes);
  if (!scratch)
    return scratch.error();
  slab_arena_ptr exchange;
  if (x.exchange_bytes > 0) {
    auto region = device_region(gpu, x.exchange_bytes);
    if (!region)
      return region.error();
    exchange =
        slab_arena::make(x.id, arena_kind::exchange, x.exchange_bytes, {}, std::move(*region));
  }
  return std::shared_ptr<device>(std::make_shared<cuda_device>(
      x, gpu, fmt::format("{} (sm_{}{})", properties.name, properties.major, properties.minor),
      slab_arena::make(x.id, arena_kind::memory, x.memory_bytes, {}, std::move(*memory)),
      slab_arena::make(x.id, arena_kind::scratch, x.scratch_bytes, {}, std::move(*scratch)),
      std::move(exchange)));
}

} // namespace pikv::gpu::cuda
