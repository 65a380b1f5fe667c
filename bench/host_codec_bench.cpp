// SPDX-License-Identifier: Apache-2.0
// Codecs, append, summaries and scores of the host backend on two threads. GB/s count the bytes of
// the f16 side. Run with --benchmark_repetitions=9 and read medians.
#include <chrono>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <pikv/gpu/host/half.hpp>
#include <pikv/gpu/host/kernels.hpp>
#include <pikv/gpu/host/thread_pool.hpp>

namespace {

using namespace pikv;

constexpr std::size_t page_count = 256;

gpu::thread_pool& pool() {
  static gpu::thread_pool threads(2, std::chrono::microseconds{50}, "bench");
  return threads;
}

gpu::cache_dims dims_of(benchmark::State& state) {
  return {8, 4, static_cast<std::uint32_t>(state.range(0)), 16};
}

/// Pages in one allocation, with outputs of another form.
struct pages_and_outputs {
  std::vector<std::uint16_t> in;
  std::vector<std::byte> out;
  std::vector<gpu::page_view> pages;
  std::vector<std::byte*> outs;

  pages_and_outputs(const gpu::cache_dims& dims, std::size_t out_bytes) {
    const std::size_t bytes = gpu::layout_of(dims, form::f16).page_bytes;
    std::mt19937_64 rng(1);
    std::normal_distribution<float> normal;
    in.resize(page_count * bytes / 2);
    for (auto& x : in)
      x = gpu::detail::f16_from_f32(normal(rng));
    out.resize(page_count * out_bytes);
    for (std::size_t i = 0; i < page_count; ++i) {
      gpu::page_view v;
      v.data = reinterpret_cast<const std::byte*>(in.data()) + i * bytes;
      v.first_position = static_cast<std::uint32_t>(16 * i);
      v.tokens = 16;
      v.stored = form::f16;
      pages.push_back(v);
      outs.push_back(out.data() + i * out_bytes);
    }
  }
};

void report(benchmark::State& state, std::size_t bytes) {
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes) * state.iterations());
  state.SetLabel(std::string(gpu::host_simd_target()));
}

void encode(benchmark::State& state, form target) {
  const auto dims = dims_of(state);
  pages_and_outputs x(dims, gpu::layout_of(dims, target).page_bytes);
  std::vector<gpu::codec_error> errors(page_count);
  for (auto _ : state)
    gpu::host_kernels().encode({dims, target, x.pages, x.outs, errors}, pool());
  report(state, x.in.size() * 2);
}
BENCHMARK_CAPTURE(encode, int8, form::int8)->Arg(32)->Arg(128)->UseRealTime();
BENCHMARK_CAPTURE(encode, int4, form::int4)->Arg(32)->Arg(128)->UseRealTime();

void decode(benchmark::State& state, form stored) {
  const auto dims = dims_of(state);
  pages_and_outputs coded(dims, gpu::layout_of(dims, stored).page_bytes);
  pages_and_outputs x(dims, gpu::layout_of(dims, form::f16).page_bytes);
  std::vector<gpu::codec_error> errors(page_count);
  gpu::host_kernels().encode({dims, stored, coded.pages, coded.outs, errors}, pool());
  for (std::size_t i = 0; i < page_count; ++i) {
    coded.pages[i].data = coded.outs[i];
    coded.pages[i].stored = stored;
  }
  for (auto _ : state)
    gpu::host_kernels().decode({dims, form::f16, coded.pages, x.outs}, pool());
  report(state, x.in.size() * 2);
}
BENCHMARK_CAPTURE(decode, int8, form::int8)->Arg(32)->Arg(128)->UseRealTime();
BENCHMARK_CAPTURE(decode, int4, form::int4)->Arg(32)->Arg(128)->UseRealTime();

void append(benchmark::State& state) {
  const auto dims = dims_of(state);
  pages_and_outputs x(dims, gpu::layout_of(dims, form::f16).page_bytes);
  const std::size_t row = std::size_t{dims.kv_heads} * dims.head_dim;
  std::vector<std::uint16_t> rows(page_count * 16 * row, 0x3C00);
  const gpu::tensor_ref t{reinterpret_cast<std::byte*>(rows.data()), dtype::f16, row,
                          dims.head_dim};
  std::vector<gpu::append_target> targets;
  for (std::uint32_t i = 0; i < page_count * 16; ++i)
    targets.push_back({x.outs[i / 16], i, static_cast<std::uint16_t>(i % 16)});
  for (auto _ : state)
    gpu::host_kernels().append({dims, form::f16, t, t, targets}, pool());
  report(state, x.in.size() * 2);
}
BENCHMARK(append)->Arg(32)->Arg(128)->UseRealTime();

void summarise(benchmark::State& state) {
  const auto dims = dims_of(state);
  constexpr std::uint8_t parts = gpu::summary_mean_var | gpu::summary_min_max;
  pages_and_outputs x(dims, gpu::summary_layout_of(dims, parts).bytes);
  for (auto _ : state)
    gpu::host_kernels().summarise({dims, parts, x.pages, x.outs}, pool());
  report(state, x.in.size());
}
BENCHMARK(summarise)->Arg(32)->Arg(128)->UseRealTime();

/// 256 rows against 256 pages: a prefill chunk with a context of 4096 tokens.
void score(benchmark::State& state, gpu::score_kind kind) {
  const auto dims = dims_of(state);
  const auto parts = static_cast<std::uint8_t>(
      kind == gpu::score_kind::mass ? gpu::summary_mean_var : gpu::summary_min_max);
  pages_and_outputs x(dims, gpu::summary_layout_of(dims, parts).bytes);
  gpu::host_kernels().summarise({dims, parts, x.pages, x.outs}, pool());
  for (std::size_t i = 0; i < page_count; ++i) {
    x.pages[i].summary = x.outs[i];
    x.pages[i].summary_parts = parts;
  }
  const std::size_t row = std::size_t{dims.query_heads} * dims.head_dim;
  std::vector<float> q(256 * row, 0.5F);
  std::vector<float> scores(256 * dims.query_heads * page_count);
  gpu::sequence_rows seq;
  seq.settled = x.pages;
  seq.row_count = 256;
  const std::uint64_t offsets[] = {0};
  const gpu::tensor_ref ref{reinterpret_cast<std::byte*>(q.data()), dtype::f32, row, dims.head_dim};
  for (auto _ : state)
    gpu::host_kernels().score({dims, kind, 0.1F, ref, {&seq, 1}, scores.data(), offsets}, pool());
  state.counters["GFLOP/s"] =
      benchmark::Counter(static_cast<double>(scores.size()) * dims.head_dim * 4e-9
                             * static_cast<double>(state.iterations()),
                         benchmark::Counter::kIsRate);
}
BENCHMARK_CAPTURE(score, mass, gpu::score_kind::mass)->Arg(32)->Arg(128)->UseRealTime();
BENCHMARK_CAPTURE(score, quest, gpu::score_kind::quest)->Arg(32)->Arg(128)->UseRealTime();

} // namespace

BENCHMARK_MAIN();
