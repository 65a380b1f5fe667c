// SPDX-License-Identifier: Apache-2.0
#include "timing.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>

#include <pikv/gpu/host/half.hpp>

namespace pikv::bench {

void must(cudaError_t code, const char* what) {
  if (code == cudaSuccess)
    return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(code));
  std::exit(1);
}

void must(const result<void>& x) {
  if (x)
    return;
  std::fprintf(stderr, "%s\n", x.error().what.c_str());
  std::exit(1);
}

device_bytes::device_bytes(std::size_t n, bool random) : size_(n) {
  must(cudaMalloc(reinterpret_cast<void**>(&data_), n), "cudaMalloc");
  if (!random)
    return;
  static const std::vector<std::uint16_t> pattern = [] {
    std::mt19937_64 rng(7);
    std::normal_distribution<float> normal;
    std::vector<std::uint16_t> x(4 << 20);
    for (auto& v : x)
      v = gpu::detail::f16_from_f32(normal(rng));
    return x;
  }();
  const std::size_t period = pattern.size() * 2;
  for (std::size_t at = 0; at < n; at += period)
    must(cudaMemcpy(data_ + at, pattern.data(), std::min(period, n - at), cudaMemcpyHostToDevice),
         "upload");
}

double median_us(int launches, int replays, const std::function<void(int, cudaStream_t)>& launch) {
  cudaStream_t stream = nullptr;
  must(cudaStreamCreate(&stream), "cudaStreamCreate");
  for (int i = 0; i < launches; ++i) // loads the kernels
    launch(i, stream);
  must(cudaStreamSynchronize(stream), "first launches");
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin capture");
  for (int i = 0; i < launches; ++i)
    launch(i, stream);
  must(cudaStreamEndCapture(stream, &graph), "end capture");
  must(cudaGraphInstantiate(&exec, graph, 0), "cudaGraphInstantiate");
  cudaEvent_t begin = nullptr, end = nullptr;
  must(cudaEventCreate(&begin), "cudaEventCreate");
  must(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<double> times;
  for (int i = 0; i < replays + 2; ++i) {
    must(cudaEventRecord(begin, stream), "cudaEventRecord");
    must(cudaGraphLaunch(exec, stream), "cudaGraphLaunch");
    must(cudaEventRecord(end, stream), "cudaEventRecord");
    must(cudaEventSynchronize(end), "replay");
    float ms = 0;
    must(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");
    if (i >= 2)
      times.push_back(1000.0 * static_cast<double>(ms) / launches);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  std::nth_element(times.begin(), times.begin() + replays / 2, times.end());
  return times[static_cast<std::size_t>(replays / 2)];
}

double copy_us(std::size_t bytes) {
  static std::map<std::size_t, double> known;
  const std::size_t half = (bytes / 2 + 255) / 256 * 256;
  if (const auto at = known.find(half); at != known.end())
    return at->second;
  const std::size_t sets = std::clamp<std::size_t>((std::size_t{512} << 20) / half, 2, 16);
  const device_bytes from(sets * half), to(sets * half, false);
  const double us = median_us(16, 9, [&](int i, cudaStream_t stream) {
    const std::size_t at = static_cast<std::size_t>(i) % sets * half;
    must(cudaMemcpyAsync(to.data() + at, from.data() + at, half, cudaMemcpyDeviceToDevice, stream),
         "copy");
  });
  return known[half] = us;
}

namespace {
std::vector<row> rows;
}

void print_header() {
  cudaDeviceProp device{};
  int driver = 0;
  must(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  must(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  std::printf("%s, driver CUDA %d.%d, %d multiprocessors\n", device.name, driver / 1000,
              driver % 1000 / 10, device.multiProcessorCount);
  std::printf("%-24s %-34s %9s %9s %7s %9s %6s\n", "kernel", "shape", "us", "MB", "TB/s", "copy us",
              "share");
}

void report(const row& x) {
  std::printf("%-24s %-34s %9.2f %9.2f %7.2f %9.2f %6.3f\n", x.kernel.c_str(), x.shape.c_str(),
              x.us, x.bytes / 1e6, x.bytes / x.us / 1e6, x.copy_us, x.copy_us / x.us);
  std::fflush(stdout);
  rows.push_back(x);
}

void write_json(const std::string& path) {
  std::ofstream out(path);
  out << "[\n";
  for (std::size_t i = 0; i < rows.size(); ++i)
    out << "  {\"kernel\": \"" << rows[i].kernel << "\", \"shape\": \"" << rows[i].shape
        << "\", \"us\": " << rows[i].us << ", \"bytes\": " << rows[i].bytes
        << ", \"copy_us\": " << rows[i].copy_us << ", \"share\": " << rows[i].copy_us / rows[i].us
        << (i + 1 < rows.size() ? "},\n" : "}\n");
  out << "]\n";
}

} // namespace pikv::bench
