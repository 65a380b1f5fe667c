// SPDX-License-Identifier: Apache-2.0
// Decode steps through the actor graph with the KV in device memory, beside the same kernels launched
// from a plain loop: one token of every sequence is appended and attended to, layer by layer. An
// engine asks in one of two ways: its thread waits for every layer, or its CUDA stream does and the
// thread goes on.
//
//   gpu_graph_bench [--layers 32 --batch 8 --context 32768 --steps 20] [--trace FILE]
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <pikv/actors/runtime.hpp>
#include <pikv/gpu/trace.hpp>

#include "device_memory.hpp"
#include "must.hpp"
#include "plain_loop.hpp"

namespace {

using namespace pikv;
using bench::must;
using bench::stop;
using steady = std::chrono::steady_clock;

struct bench_options {
  std::uint32_t layers = 32, batch = 8, context = 32768, chunk = 2048, steps = 20;
  std::uint32_t actor_threads = 1;
  std::string trace; ///< timeline of some steps of each way, in the Chrome trace format
};

/// One way to read the cache.
struct way {
  const char* name;
  const char* selection; ///< "all" or a score
  const char* heads;
};
constexpr std::int64_t budget_tokens = 2048; ///< that the ways that select read
constexpr way ways[] = {{"all pages", "all", ""},
                        {"2,048 tokens by mass, shared", "mass", "shared"},
                        {"2,048 by mass, per KV head", "mass", "per_kv_head"}};

config::settings settings_of(const bench_options& o, const model_shape& shape, const way& w) {
  config::settings s;
  const std::uint64_t kv_bytes = // of K and of V, two each
      std::uint64_t{4} * shape.kv_heads * shape.head_dim * shape.layers * o.batch * o.context;
  s.devices.backend = "cuda";
  s.devices.memory_bytes = kv_bytes + kv_bytes / 4;
  s.devices.scratch_bytes = std::uint64_t{1} << 30;
  s.cache.stored = dtype::bf16;
  s.metrics.enabled = false;
  s.runtime.latency = config::latency_profile::low;
  s.runtime.actor_threads = o.actor_threads;
  s.selection.name = w.selection;
  if (s.selection.name != "all") {
    s.selection.options.set("heads", std::string{w.heads});
    s.selection.options.set("pages", budget_tokens / std::int64_t{s.cache.page_tokens});
  }
  return s;
}

class decode_bench {
public:
  decode_bench(const bench_options& o, const way& w)
      : options_(o), shape_{o.layers, 32, 8, 128, 0},
        runtime_(must(runtime::start(settings_of(o, shape_, w)))), kv_(must(runtime_.open(shape_))),
        rows_(noise(std::size_t{o.batch} * o.chunk * shape_.kv_heads * shape_.head_dim)),
        q_(noise(row_elements())), out_(row_elements() * 2), position_(o.context) {
    bench::require(cudaStreamCreateWithFlags(&engine_, cudaStreamNonBlocking), "stream");
    for (std::uint32_t i = 0; i < o.batch; ++i)
      sequences_.push_back(must(kv_.open()));
  }

  void fill() {
    for (std::uint32_t at = 0; at < options_.context; at += options_.chunk)
      for (std::uint32_t layer = 0; layer < options_.layers; ++layer) {
        const auto n = std::min(options_.chunk, options_.context - at);
        const auto view = dense(rows_.as(), options_.batch * n, shape_.kv_heads);
        if (auto done = kv_.append(layer, parts(at, n), view, view).wait(); !done)
          stop(done.error());
      }
  }

  /// Median microseconds of one layer of a step. `ordered`: the engine's stream waits, not its thread.
  double layer_us(bool ordered) {
    std::vector<double> steps;
    for (std::uint32_t i = 0; i < options_.steps + 2; ++i, ++position_) {
      const auto begin = steady::now();
      ordered ? ordered_step() : waiting_step();
      if (i >= 2)
        steps.push_back(std::chrono::duration<double, std::micro>(steady::now() - begin).count()
                        / options_.layers);
    }
    std::ranges::nth_element(steps, steps.begin() + options_.steps / 2);
    return steps[options_.steps / 2];
  }

  /// The timeline of three steps.
  void trace(const std::string& path) {
    gpu::trace::start();
    for (int i = 0; i < 3; ++i, ++position_)
      ordered_step();
    gpu::trace::stop();
    std::ofstream file{path};
    gpu::trace::write(file);
    if (!file)
      stop({errc::io_failed, fmt::format("{} cannot be written", path)});
  }

private:
  /// The thread waits for every layer.
  void waiting_step() {
    const auto now = parts(position_, 1);
    for (std::uint32_t layer = 0; layer < options_.layers; ++layer) {
      auto append = kv_.append(layer, now, token(), token());
      auto attend = kv_.attend(layer, now, query(), output());
      if (const auto& done = attend.spin(); !done)
        stop(done.error());
      if (const auto& done = append.spin(); !done)
        stop(done.error());
    }
  }

  /// The engine's stream waits for every layer; the thread only for the step.
  void ordered_step() {
    const auto now = parts(position_, 1);
    append_options appends;
    attend_options attends;
    appends.stream = attends.stream = engine_;
    std::vector<completion<append_report>> appended;
    std::vector<completion<attend_report>> attended;
    for (std::uint32_t layer = 0; layer < options_.layers; ++layer) {
      appended.push_back(kv_.append(layer, now, token(), token(), appends));
      attended.push_back(kv_.attend(layer, now, query(), output(), attends));
      if (auto r = attended.back().enqueue_wait(engine_); !r)
        stop(r.error());
    }
    bench::require(cudaStreamSynchronize(engine_), "the engine's stream");
    for (auto& x : attended)
      if (const auto& done = x.spin(); !done)
        stop(done.error());
    for (auto& x : appended)
      if (const auto& done = x.spin(); !done)
        stop(done.error());
  }

  std::size_t row_elements() const {
    return std::size_t{options_.batch} * shape_.query_heads * shape_.head_dim;
  }

  static std::vector<std::uint16_t> noise(std::size_t n) {
    std::vector<std::uint16_t> x(n);
    std::uint32_t state = 1;
    for (auto& v : x) { // bf16 numbers around zero with ordinary exponents
      state = state * 1664525U + 1013904223U;
      v = static_cast<std::uint16_t>(0x3E00U | (state >> 16 & 0x81FFU));
    }
    return x;
  }

  std::vector<batch_part> parts(std::uint32_t at, std::uint32_t tokens) const {
    std::vector<batch_part> x;
    for (const auto id : sequences_)
      x.push_back({id, at, tokens});
    return x;
  }

  const_tensor dense(const std::byte* data, std::uint32_t rows, std::uint32_t heads) const {
    return {data,
            std::size_t{rows} * heads * shape_.head_dim * 2,
            dtype::bf16,
            layout::nhd,
            rows,
            heads,
            shape_.head_dim,
            0,
            0};
  }
  const_tensor token() const { return dense(rows_.as(), options_.batch, shape_.kv_heads); }
  const_tensor query() const { return dense(q_.as(), options_.batch, shape_.query_heads); }
  tensor output() const {
    const auto x = dense(out_.as(), options_.batch, shape_.query_heads);
    return {out_.as(), x.bytes, x.type, x.order, x.rows, x.heads, x.dim, 0, 0};
  }

  bench_options options_;
  model_shape shape_;
  runtime runtime_;
  cache kv_;
  bench::device_memory rows_, q_, out_;
  std::vector<sequence_id> sequences_;
  std::uint32_t position_;
  cudaStream_t engine_ = nullptr;
};

} // namespace

int main(int argc, char** argv) {
  bench_options o;
  CLI::App app{"Decode steps through the actor graph with the KV on a GPU"};
  app.add_option("--layers", o.layers)->capture_default_str();
  app.add_option("--batch", o.batch)->capture_default_str();
  app.add_option("--context", o.context)->capture_default_str();
  app.add_option("--steps", o.steps)->capture_default_str();
  app.add_option("--actor-threads", o.actor_threads)->capture_default_str();
  app.add_option("--trace", o.trace, "file for a timeline of the calls ordered by a stream");
  CLI11_PARSE(app, argc, argv);
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    fmt::print("no CUDA device: nothing was measured\n");
    return 77;
  }
  alarm(300); // a hang ends
  fmt::print("{} layers, {} x {}, 32/8 heads, d 128, bf16, pages of 16, {} actor threads\n",
             o.layers, o.batch, o.context, o.actor_threads);
  fmt::print("kernels are loaded {}\n", std::getenv("CUDA_MODULE_LOADING") != nullptr
                                            ? std::getenv("CUDA_MODULE_LOADING")
                                            : "lazily (CUDA_MODULE_LOADING is not set)");
  fmt::print("{:36}{:>14}{:>12}{:>12}\n", "us a layer, append included", "time", "over plain",
             "all / this");
  const double plain = bench::plain_layer_us({o.layers, o.batch, o.context}, o.steps);
  fmt::print("{:36}{:14.1f}{:12.3f}\n", "the kernels in a plain loop", plain, 1.0);
  std::fflush(stdout);
  double all = 0;
  for (const auto& w : ways) {
    decode_bench x{o, w};
    x.fill();
    for (const bool ordered : {false, true}) {
      const double us = x.layer_us(ordered);
      if (w.selection == std::string_view{"all"} && ordered)
        all = us;
      if (ordered && !o.trace.empty())
        x.trace(o.trace + "." + w.selection + w.heads + ".json");
      fmt::print("{:36}{:14.1f}{:12.3f}{:12.2f}\n",
                 fmt::format("{}, {}", w.name, ordered ? "stream" : "thread"), us, us / plain,
                 all > 0 ? all / us : 0.0);
      std::fflush(stdout);
    }
  }
}
