// SPDX-License-Identifier: Apache-2.0
// Attention of the host backend on two threads, with the machine's read bandwidth beside it.
// Run with --benchmark_repetitions=9 on an otherwise idle machine and read medians; `of_roof` is
// the share of the bandwidth measured just before each repetition, and means nothing under other
// load.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include <benchmark/benchmark.h>

#include <pikv/gpu/host/kernels.hpp>
#include <pikv/gpu/host/thread_pool.hpp>

namespace {

using namespace pikv;
using clock_type = std::chrono::steady_clock;

gpu::thread_pool& pool() {
  static gpu::thread_pool threads(2, std::chrono::microseconds{50}, "bench");
  return threads;
}

/// Sums 64-bit words with enough chains that only memory limits it.
std::uint64_t sum_words(const std::uint64_t* p, std::size_t n) {
  typedef std::uint64_t words __attribute__((vector_size(64)));
  words sum[8] = {};
  for (std::size_t i = 0; i + 64 <= n; i += 64)
    for (std::size_t j = 0; j < 8; ++j) {
      words x;
      std::memcpy(&x, p + i + 8 * j, sizeof x);
      sum[j] += x;
    }
  std::uint64_t total = 0;
  for (const words& x : sum)
    for (int lane = 0; lane < 8; ++lane)
      total += x[lane];
  return total;
}

/// Bytes per second of reading 256 MiB with both threads: the median of nine passes.
double read_roof() {
  static const std::vector<std::uint64_t> data(std::size_t{32} << 20, 1);
  constexpr std::size_t parts = 64;
  const std::size_t run = data.size() / parts;
  std::vector<double> seconds;
  for (int i = 0; i < 9; ++i) {
    const auto begin = clock_type::now();
    pool().run(parts, [&](std::size_t part, std::size_t) {
      benchmark::DoNotOptimize(sum_words(data.data() + part * run, run));
    });
    seconds.push_back(std::chrono::duration<double>(clock_type::now() - begin).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + 4, seconds.end());
  return static_cast<double>(data.size() * sizeof(std::uint64_t)) / seconds[4];
}

/// A sequence with random pages in one allocation, its rows and an output.
struct workload {
  gpu::cache_dims dims;
  std::vector<std::byte> memory;
  std::vector<gpu::page_view> pages;
  std::vector<std::uint16_t> q, out;
  gpu::sequence_rows sequence;
  gpu::attend_args args;
  std::vector<std::uint32_t> offsets, list, always;
  gpu::page_selection selection;
  std::size_t bytes_read = 0;

  workload(gpu::cache_dims d, form stored, dtype rows_type, std::uint32_t tokens,
           std::uint32_t rows)
      : dims(d) {
    const std::size_t page_bytes = gpu::layout_of(dims, stored).page_bytes;
    const std::size_t n = tokens / dims.page_tokens;
    memory.resize(n * page_bytes + 64);
    std::mt19937_64 rng(1);
    for (std::size_t i = 0; i < memory.size(); ++i) // 0x30..0x3F: normal values in every form
      memory[i] = static_cast<std::byte>(0x30 | (rng() & 0x8F));
    bytes_read = n * page_bytes;
    void* begin = memory.data();
    std::size_t space = memory.size();
    std::align(64, n * page_bytes, begin, space);
    for (std::size_t i = 0; i < n; ++i) {
      gpu::page_view v;
      v.data = static_cast<std::byte*>(begin) + i * page_bytes;
      v.first_position = static_cast<std::uint32_t>(i * dims.page_tokens);
      v.tokens = static_cast<std::uint16_t>(dims.page_tokens);
      v.stored = stored;
      pages.push_back(v);
    }
    const std::size_t row = std::size_t{dims.query_heads} * dims.head_dim;
    q.assign(rows * row, 0x3000);
    out.resize(rows * row);
    sequence.settled = pages;
    sequence.row_count = rows;
    sequence.first_position = tokens - rows;
    args.dims = dims;
    args.scale = 1 / std::sqrt(static_cast<float>(dims.head_dim));
    args.q = {reinterpret_cast<std::byte*>(q.data()), rows_type, row, dims.head_dim};
    args.out = {reinterpret_cast<std::byte*>(out.data()), rows_type, row, dims.head_dim};
    args.sequences = {&sequence, 1};
  }

  /// Every row reads `count` pages, a different random list per KV head.
  void select(std::size_t count) {
    std::mt19937_64 rng(2);
    std::vector<std::uint32_t> all(pages.size() - sequence.row_count / dims.page_tokens);
    for (std::uint32_t i = 0; i < all.size(); ++i)
      all[i] = i;
    offsets.push_back(0);
    for (std::size_t i = 0; i < std::size_t{sequence.row_count} * dims.kv_heads; ++i) {
      std::shuffle(all.begin(), all.end(), rng);
      list.insert(list.end(), all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count));
      std::sort(list.end() - static_cast<std::ptrdiff_t>(count), list.end());
      offsets.push_back(static_cast<std::uint32_t>(list.size()));
    }
    always.assign(sequence.row_count, static_cast<std::uint32_t>(pages.size()));
    selection = {dims.kv_heads, offsets, list, always};
    args.selection = &selection;
  }
};

void decode_1x32k(benchmark::State& state, form stored) {
  const double roof = read_roof();
  workload w({32, 8, 128, 16}, stored, dtype::bf16, 32768, 1);
  for (auto _ : state)
    gpu::host_kernels().attend(w.args, pool());
  const auto bytes = static_cast<double>(w.bytes_read) * static_cast<double>(state.iterations());
  state.counters["GB/s"] = benchmark::Counter(bytes * 1e-9, benchmark::Counter::kIsRate);
  state.counters["of_roof"] = benchmark::Counter(bytes / roof, benchmark::Counter::kIsRate);
  state.counters["roof_GB/s"] = roof * 1e-9;
}
BENCHMARK_CAPTURE(decode_1x32k, f32, form::f32)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(decode_1x32k, f16, form::f16)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(decode_1x32k, bf16, form::bf16)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(decode_1x32k, int8, form::int8)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(decode_1x32k, int4, form::int4)->UseRealTime()->Unit(benchmark::kMillisecond);

/// 256 rows at the end of a context of 4096 tokens; GFLOP/s counts 4 * head_dim per entry read.
void prefill(benchmark::State& state, gpu::cache_dims dims, std::size_t selected_pages) {
  workload w(dims, form::f16, dtype::f16, 4096, 256);
  double entries = 0; // per query head
  if (selected_pages > 0) {
    w.select(selected_pages);
    entries = 256.0 * static_cast<double>(selected_pages) * dims.page_tokens;
  } else {
    for (std::uint32_t r = 0; r < 256; ++r)
      entries += w.sequence.first_position + r + 1;
  }
  for (auto _ : state)
    gpu::host_kernels().attend(w.args, pool());
  const double flops = entries * dims.query_heads * dims.head_dim * 4;
  state.counters["GFLOP/s"] = benchmark::Counter(
      flops * 1e-9 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
  state.SetLabel(std::string(gpu::host_simd_target()));
}
BENCHMARK_CAPTURE(prefill, h8_4_d32, gpu::cache_dims{8, 4, 32, 16}, 0)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(prefill, h8_4_d32_31_pages_a_row, gpu::cache_dims{8, 4, 32, 16}, 31)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(prefill, h32_8_d128, gpu::cache_dims{32, 8, 128, 16}, 0)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

} // namespace

BENCHMARK_MAIN();
