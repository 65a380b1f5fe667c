// SPDX-License-Identifier: Apache-2.0
// What the actor graph adds to the kernels: an attend through the graph with a polling client
// beside the same kernel called directly, in turn in one run; and the cost of an appended entry by
// length.
//
//   graph_bench --benchmark_filter=...    (medians are printed as counters)
#include <algorithm>
#include <chrono>
#include <random>
#include <vector>

#include <benchmark/benchmark.h>

#include <pikv/actors/runtime.hpp>
#include <pikv/gpu/device.hpp>
#include <pikv/gpu/host/worker_pool.hpp>

namespace {

using namespace pikv;
using steady = std::chrono::steady_clock;

constexpr model_shape shape{1, 8, 4, 32, 0};
constexpr std::uint32_t page_tokens = 16;

double us_since(steady::time_point t) {
  return std::chrono::duration<double, std::micro>(steady::now() - t).count();
}

double median(std::vector<double> x) {
  auto mid = x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2);
  std::nth_element(x.begin(), mid, x.end());
  return *mid;
}

std::vector<float> noise(std::size_t n) {
  std::mt19937 g{7};
  std::normal_distribution<float> d;
  std::vector<float> x(n);
  std::ranges::generate(x, [&] { return d(g); });
  return x;
}

config::settings quiet_settings(config::latency_profile latency) {
  config::settings s;
  s.metrics.enabled = false;
  s.runtime.latency = latency;
  s.devices.threads = 1;
  s.devices.memory_bytes = std::uint64_t{4} << 30;
  return s;
}

/// A sequence of `context` tokens in a runtime of its own.
struct filled_cache {
  filled_cache(std::uint32_t context, config::latency_profile latency)
      : rt(std::move(*runtime::start(quiet_settings(latency)))), kv(std::move(*rt.open(shape))),
        id(*kv.open()) {
    const auto x = noise(std::size_t{context} * shape.kv_heads * shape.head_dim);
    const std::vector<batch_part> parts{{id, 0, context}};
    auto view = nhd(std::span{x}, context, shape.kv_heads, shape.head_dim);
    if (auto done = kv.append(0, parts, view, view).wait(); !done)
      std::abort();
  }
  runtime rt;
  cache kv;
  sequence_id id;
};

/// The same number of pages and rows, without a graph.
struct bare_pages {
  explicit bare_pages(std::uint32_t context)
      : device(
          *gpu::make_device("host", {{}, std::size_t{4} << 30, std::size_t{64} << 20, 1, {}})) {
    const auto layout = gpu::layout_of(dims, form::f16);
    for (std::uint32_t p = 0; p * page_tokens < context; ++p) {
      auto block = *device->memory().allocate(layout.page_bytes);
      std::fill_n(block.data(), layout.page_bytes, std::byte{0x30});
      gpu::page_view view;
      view.data = block.data();
      view.first_position = p * page_tokens;
      view.tokens = static_cast<std::uint16_t>(std::min(page_tokens, context - p * page_tokens));
      view.stored = form::f16;
      views.push_back(view);
      blocks.push_back(std::move(block));
    }
  }
  void attend(const std::vector<float>& q, std::vector<float>& out, std::uint32_t context) {
    const gpu::sequence_rows rows{views, {}, 0, 1, context - 1};
    auto ref = [](const float* p) {
      auto* bytes = const_cast<std::byte*>(reinterpret_cast<const std::byte*>(p));
      return gpu::tensor_ref{bytes, dtype::f32, 256, 32};
    };
    gpu::attend_args args;
    args.dims = dims;
    args.scale = 0.17F;
    args.q = ref(q.data());
    args.out = ref(out.data());
    args.sequences = {&rows, 1};
    device->kernels().attend(args, executor);
  }
  gpu::cache_dims dims{shape.query_heads, shape.kv_heads, shape.head_dim, page_tokens};
  std::shared_ptr<gpu::device> device;
  gpu::serial_executor executor;
  std::vector<gpu::page_view> views;
  std::vector<gpu::block> blocks;
};

/// One query row, `gap` between calls; counters in microseconds.
void attend_through_graph(benchmark::State& state) {
  const auto context = static_cast<std::uint32_t>(state.range(0));
  const std::chrono::microseconds gap{state.range(1)};
  const auto latency = static_cast<config::latency_profile>(state.range(2));
  filled_cache filled{context, latency};
  bare_pages bare{context};
  const auto q = noise(256);
  std::vector<float> out(256);
  const std::vector<batch_part> parts{{filled.id, context - 1, 1}};
  std::vector<double> graph, direct;
  for (auto _ : state) {
    for (auto until = steady::now() + gap; steady::now() < until;) {
    }
    auto t = steady::now();
    auto done =
        filled.kv.attend(0, parts, nhd(std::span{q}, 1, 8, 32), nhd(std::span{out}, 1, 8, 32));
    if (!done.spin())
      state.SkipWithError("the attend failed");
    graph.push_back(us_since(t));
    t = steady::now();
    bare.attend(q, out, context);
    direct.push_back(us_since(t));
  }
  const double g = median(graph);
  const double d = median(direct);
  state.counters["graph_us"] = g;
  state.counters["direct_us"] = d;
  state.counters["added_us"] = g - d;
}
BENCHMARK(attend_through_graph)
    ->ArgNames({"context", "gap_us", "latency"})
    ->Args({1024, 0, 0})
    ->Args({4096, 0, 0})
    ->Args({4096, 200, 0})
    ->Args({4096, 0, 1})
    ->Args({4096, 200, 1})
    ->Args({4096, 200, 2})
    ->Iterations(3000)
    ->Unit(benchmark::kMicrosecond);

/// Appends 64 tokens at a time up to a million and compares the cost of an entry late with early.
void append_cost_by_length(benchmark::State& state) {
  constexpr std::uint32_t step = 64;
  constexpr std::uint32_t last = 1'000'000;
  const auto x = noise(std::size_t{step} * shape.kv_heads * shape.head_dim);
  for (auto _ : state) {
    filled_cache filled{step, config::latency_profile::low};
    std::vector<double> early, late;
    for (std::uint32_t n = step; n < last; n += step) {
      const std::vector<batch_part> parts{{filled.id, n, step}};
      auto view = nhd(std::span{x}, step, shape.kv_heads, shape.head_dim);
      auto t = steady::now();
      if (!filled.kv.append(0, parts, view, view).spin())
        state.SkipWithError("the append failed");
      const double ns = us_since(t) * 1000 / step;
      if (n >= 1'000 && n < 33'000)
        early.push_back(ns);
      else if (n >= last - 32'000)
        late.push_back(ns);
    }
    state.counters["early_ns_per_entry"] = median(early);
    state.counters["late_ns_per_entry"] = median(late);
    state.counters["late_over_early"] = median(late) / median(early);
  }
}
BENCHMARK(append_cost_by_length)->Iterations(1)->Unit(benchmark::kMillisecond);

} // namespace

BENCHMARK_MAIN();
