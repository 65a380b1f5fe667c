// SPDX-License-Identifier: Apache-2.0
/// \file
/// nccl_exchange_bench: bytes from GPU 0 to GPU 1 (or to itself, if it is the only one) by one
/// exchange_all, beside one plain copy in the same run. Each is one call on idle streams, timed by
/// CUDA events around it, so that small sizes show what a call costs.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <span>
#include <vector>

#include <cuda_runtime_api.h>

#include <pikv/gpu/transport/nccl/nccl_group.hpp>

#include "device_memory.hpp"

namespace {

using namespace std::chrono_literals;

constexpr int repetitions = 20;
constexpr int warm_up = 3;
constexpr std::size_t largest = std::size_t{256} << 20;

using pikv::bench::require;

void require(const pikv::result<void>& x) {
  if (x)
    return;
  std::fprintf(stderr, "%s\n", to_string(x.error()).c_str());
  std::exit(1);
}

/// One GPU with a stream, two events and memory. Lives as long as the program.
struct end_point {
  int gpu = 0;
  cudaStream_t stream = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  std::byte* memory = nullptr;

  explicit end_point(int id) : gpu(id) {
    require(cudaSetDevice(gpu), "cudaSetDevice");
    require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
    require(cudaEventCreate(&begin), "event");
    require(cudaEventCreate(&end), "event");
    require(cudaMalloc(reinterpret_cast<void**>(&memory), largest), "cudaMalloc");
    require(cudaMemset(memory, gpu + 1, largest), "cudaMemset");
    require(cudaDeviceSynchronize(), "cudaMemset");
  }
};

/// Microseconds.
struct timing {
  double median = 0, least = 0, most = 0;
};

/// Between events before and after `call` in the stream of `at`.
timing time(const end_point& at, const std::function<void()>& call) {
  std::vector<double> us;
  for (int i = 0; i < warm_up + repetitions; ++i) {
    require(cudaSetDevice(at.gpu), "cudaSetDevice");
    require(cudaEventRecord(at.begin, at.stream), "record");
    call();
    require(cudaEventRecord(at.end, at.stream), "record");
    require(cudaEventSynchronize(at.end), "synchronize");
    float ms = 0;
    require(cudaEventElapsedTime(&ms, at.begin, at.end), "elapsed");
    if (i >= warm_up)
      us.push_back(1000.0 * static_cast<double>(ms));
  }
  std::ranges::sort(us);
  return {(us[repetitions / 2 - 1] + us[repetitions / 2]) / 2, us.front(), us.back()};
}

void print(const char* way, std::size_t bytes, const timing& x) {
  std::printf("%-22s %10.2f %10.1f %10.1f %10.1f %10.2f\n", way,
              static_cast<double>(bytes) / (1 << 20), x.median, x.least, x.most,
              static_cast<double>(bytes) / x.median / 1e3);
  std::fflush(stdout);
}

/// The receiver has a stream and memory of its own also where both are one GPU; the one rank there
/// is then works in the sender's stream.
void run(const end_point& from, const end_point& to, pikv::gpu::transport::nccl_group& group,
         std::span<const cudaStream_t> streams) {
  const bool two = from.gpu != to.gpu;
  const int to_rank = two ? 1 : 0;
  for (std::size_t bytes = std::size_t{64} << 10; bytes <= largest; bytes *= 4) {
    const pikv::gpu::transport::exchange x{0, to_rank, from.memory, to.memory, bytes};
    print("nccl exchange_all", bytes, time(two ? to : from, [&] {
            require(group.exchange_all({&x, 1}, streams));
          }));
    require(group.wait(streams, std::chrono::steady_clock::now() + 30s));
    print(two ? "cudaMemcpyPeerAsync" : "cudaMemcpyAsync", bytes, time(from, [&] {
            require(two ? cudaMemcpyPeerAsync(to.memory, to.gpu, from.memory, from.gpu, bytes,
                                              from.stream)
                        : cudaMemcpyAsync(to.memory, from.memory, bytes, cudaMemcpyDeviceToDevice,
                                          from.stream),
                    "copy");
          }));
  }
}

/// Without it a copy between GPUs goes through the host.
void allow_peers(int from, int to) {
  int possible = 0;
  require(cudaDeviceCanAccessPeer(&possible, from, to), "cudaDeviceCanAccessPeer");
  std::printf("GPU %d reaches GPU %d directly: %s\n", from, to, possible != 0 ? "yes" : "no");
  if (possible == 0)
    return;
  require(cudaSetDevice(from), "cudaSetDevice");
  require(cudaDeviceEnablePeerAccess(to, 0), "cudaDeviceEnablePeerAccess");
}

} // namespace

int main() {
  int gpus = 0;
  if (cudaGetDeviceCount(&gpus) != cudaSuccess || gpus == 0) {
    std::printf("no CUDA device: nothing to measure\n");
    return 0;
  }
  cudaDeviceProp device{};
  require(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  const bool two = gpus > 1;
  std::printf("%s, %d found, %s; median of %d, GB/s of the bytes exchanged\n", device.name, gpus,
              two ? "GPU 0 to GPU 1" : "GPU 0 to itself", repetitions);
  if (two) {
    allow_peers(0, 1);
    allow_peers(1, 0);
  }
  const end_point first(0), second(two ? 1 : 0);
  const std::vector<int> ids = two ? std::vector{0, 1} : std::vector{0};
  std::vector<cudaStream_t> streams{first.stream};
  if (two)
    streams.push_back(second.stream);
  auto group = pikv::gpu::transport::nccl_group::make(ids);
  if (!group) {
    std::fprintf(stderr, "%s\n", to_string(group.error()).c_str());
    return 1;
  }
  std::printf("%-22s %10s %10s %10s %10s %10s\n", "way", "MiB", "us", "min", "max", "GB/s");
  run(first, second, **group, streams);
}
