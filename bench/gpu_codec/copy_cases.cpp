// SPDX-License-Identifier: Apache-2.0
// Blocks between device memory and pinned host memory, beside one copy of as many bytes.
#include <algorithm>

#include <fmt/format.h>

#include <pikv/gpu/cuda/launch_queue.hpp>
#include <pikv/gpu/cuda/table.hpp>

#include "cases.hpp"
#include "timing.hpp"

namespace pikv::bench {
namespace {

constexpr std::size_t total_bytes = std::size_t{512} << 20;

struct pinned_bytes {
  std::byte* data = nullptr;
  pinned_bytes() {
    must(cudaHostAlloc(reinterpret_cast<void**>(&data), total_bytes, cudaHostAllocMapped),
         "pinned memory");
  }
  ~pinned_bytes() { cudaFreeHost(data); }
  pinned_bytes(const pinned_bytes&) = delete;
  pinned_bytes& operator=(const pinned_bytes&) = delete;
};

/// Median of nine runs between two events. Microseconds.
double time_us(cudaStream_t stream, const std::function<void()>& enqueue) {
  cudaEvent_t begin, end;
  must(cudaEventCreate(&begin), "event");
  must(cudaEventCreate(&end), "event");
  std::vector<float> times;
  for (int i = 0; i < 9; ++i) {
    must(cudaEventRecord(begin, stream), "record");
    enqueue();
    must(cudaEventRecord(end, stream), "record");
    must(cudaStreamSynchronize(stream), "synchronise");
    must(cudaEventElapsedTime(&times.emplace_back(), begin, end), "elapsed");
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::ranges::nth_element(times, times.begin() + 4);
  return 1e3 * static_cast<double>(times[4]);
}

result<void> check_ended(const error& e) {
  return e.code == errc::ok ? result<void>{} : result<void>{e};
}

/// Every second block of the pages' arena, as evicted pages lie.
std::vector<gpu::copy_item> scattered(const std::byte* from, std::byte* to, std::size_t bytes) {
  std::vector<gpu::copy_item> items;
  for (std::size_t at = 0; at + 2 * bytes <= total_bytes; at += 2 * bytes)
    items.push_back({from + at, to + at, bytes});
  return items;
}

} // namespace

void bench_copies() {
  auto queue = gpu::cuda::launch_queue::make(0, gpu::stream_role::copy);
  must(queue ? result<void>{} : result<void>{queue.error()});
  auto& q = **queue;
  const device_bytes device(total_bytes, false);
  const pinned_bytes host;
  for (const bool to_host : {true, false}) {
    const std::byte* from = to_host ? device.data() : host.data;
    std::byte* to = to_host ? host.data : device.data();
    const double one = time_us(q.stream(), [&] {
      must(cudaMemcpyAsync(to, from, total_bytes / 2, cudaMemcpyDefault, q.stream()), "copy");
    });
    for (const std::size_t kib : {16U, 64U, 256U, 1024U}) {
      const auto items = scattered(from, to, kib << 10);
      const double us = time_us(q.stream(), [&] { gpu::cuda::table::copy(items, q); });
      must(check_ended(q.finish()));
      report({to_host ? "copy to host" : "copy to device",
              fmt::format("{} blocks of {} KiB", items.size(), kib), us,
              static_cast<double>(total_bytes / 2), one});
    }
  }
}

} // namespace pikv::bench
