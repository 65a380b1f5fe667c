// SPDX-License-Identifier: Apache-2.0
// Blocks between device memory and pinned host memory, beside one copy of as many bytes: by the
// copy engine in one call, by the kernel, and as the kernel table does it.
#include <algorithm>

#include <fmt/format.h>

#include <pikv/gpu/cuda/copy.hpp>
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

/// Median of nine runs between two events; `before` each, nothing is timed. Microseconds.
double time_us(
    cudaStream_t stream, const std::function<void()>& enqueue,
    const std::function<void()>& before = [] {}) {
  cudaEvent_t begin, end;
  must(cudaEventCreate(&begin), "event");
  must(cudaEventCreate(&end), "event");
  std::vector<float> times;
  for (int i = 0; i < 9; ++i) {
    before();
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

/// One call on each of several streams, so that copies begin while others run.
void copy_over_streams(const std::vector<gpu::copy_item>& items, gpu::cuda::launch_queue& q,
                       std::size_t streams) {
  must(q.spread(streams, [&](std::size_t i, CUstream_st* stream) {
    const auto at = [&](std::size_t k) {
      return items.begin() + static_cast<std::ptrdiff_t>(items.size() * k / streams);
    };
    return gpu::cuda::copy_by_engine({at(i), at(i + 1)}, stream);
  }));
}

/// All ways to copy these items, beside `one_us` of one copy of as many bytes.
void bench_ways(gpu::cuda::launch_queue& q, const std::string& direction,
                const std::vector<gpu::copy_item>& items, double one_us) {
  const auto stream = q.stream();
  const auto shape = fmt::format("{} {} x {} KiB", direction, items.size(), items[0].bytes >> 10);
  const auto add = [&](const std::string& way, double us) {
    report({way, shape, us, static_cast<double>(total_bytes / 2), one_us});
  };
  add("copy, batch call", time_us(stream, [&] { must(gpu::cuda::copy_by_engine(items, stream)); }));
  for (const std::size_t streams : {2U, 4U, 8U})
    add(fmt::format("copy, batch, {} streams", streams),
        time_us(stream, [&] { copy_over_streams(items, q, streams); }));
  const auto pieces = gpu::cuda::copy_pieces(items);
  const device_bytes on_device{std::span<const gpu::copy_item>(pieces)};
  for (const std::uint32_t blocks : {16U, 32U, 64U})
    add(fmt::format("copy, {} blocks", blocks), time_us(stream, [&] {
          must(gpu::cuda::copy({on_device.as<gpu::copy_item>(),
                                static_cast<std::uint32_t>(pieces.size()), blocks,
                                static_cast<std::uint32_t>(pieces.size())},
                               stream));
        }));
  add("copy, kernel table", time_us(
                                stream, [&] { gpu::cuda::table::copy(items, q); },
                                [&] { must(check_ended(q.finish())); }));
  must(check_ended(q.finish()));
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
    report({"copy, one",
            fmt::format("{} {} MiB", to_host ? "to host" : "to device", total_bytes >> 21), one,
            static_cast<double>(total_bytes / 2), one});
    for (const std::size_t kib : {16U, 64U, 256U, 1024U})
      bench_ways(q, to_host ? "to host" : "to device", scattered(from, to, kib << 10), one);
  }
}

} // namespace pikv::bench
