// SPDX-License-Identifier: Apache-2.0
// Decode steps through the actor graph with the KV in device memory, beside the same kernels launched
// from a plain loop: one token of every sequence is appended and attended to, layer by layer. An
// engine asks in one of two ways: its thread waits for every layer, or its CUDA stream does and the
// thread goes on.
//
//   gpu_graph_bench [--layers 32 --batch 8 --context 32768 --steps 20] [--trace FILE]
#include <unistd.h>

#include <cstdlib>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "decode_engine.hpp"
#include "must.hpp"
#include "plain_loop.hpp"

namespace {

using namespace pikv;

struct bench_options {
  std::uint32_t layers = 32, batch = 8, context = 32768, steps = 20;
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

bench::decode_options engine_of(const bench_options& o, const way& w) {
  bench::decode_options x;
  x.shape.layers = o.layers;
  x.batch = o.batch;
  x.context = o.context;
  x.actor_threads = o.actor_threads;
  x.tune = [w](config::settings& s) {
    s.selection.name = w.selection;
    if (s.selection.name == "all")
      return;
    s.selection.options.set("heads", std::string{w.heads});
    s.selection.options.set("pages", budget_tokens / std::int64_t{s.cache.page_tokens});
  };
  return x;
}

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
    bench::decode_engine x{engine_of(o, w)};
    x.fill();
    for (const bool ordered : {false, true}) {
      const double us = x.layer_us(ordered, o.steps);
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
