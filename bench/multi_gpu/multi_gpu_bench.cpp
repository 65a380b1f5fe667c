// SPDX-License-Identifier: Apache-2.0
// One cache over the GPUs of one host: what must hold and what it costs. bench/multi_gpu/run builds
// this and runs it beside the tests and the benches of bytes and exchanges.
//
//   multi_gpu_bench [--gpus N] [--json FILE] [--sections exact,decode,...] [--trace FILE]
//
// Exits with 1 where something is wrong, not where it is slow.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include <CLI/CLI.hpp>
#include <cuda_runtime_api.h>

#include "sections.hpp"

namespace {

using namespace pikv::bench;

bool wants(const std::vector<std::string>& sections, const std::string& name) {
  return sections.empty() || std::ranges::find(sections, name) != sections.end();
}

void run(int gpus, const std::vector<std::string>& sections, const std::string& trace,
         report& out) {
  if (wants(sections, "exact"))
    check_exactness(gpus, out);
  if (wants(sections, "decode")) {
    measure_decode(gpus, 8, 8, trace.empty() ? trace : trace + ".decode.json", out);
    measure_decode(gpus, 64, 2, {}, out);
  }
  if (wants(sections, "routes"))
    measure_routes(gpus, trace.empty() ? trace : trace + ".choice.json", out);
  if (wants(sections, "partials"))
    measure_partials(gpus, out);
  if (wants(sections, "settling"))
    measure_settling(gpus, out);
  if (wants(sections, "hot_shard"))
    check_hot_shard(gpus, out);
}

} // namespace

int main(int argc, char** argv) {
  int gpus = 0;
  std::string json, trace;
  std::vector<std::string> sections;
  CLI::App app{"One cache over the GPUs of one host"};
  app.add_option("--gpus", gpus, "GPUs to use; 0: a power of two of those found")
      ->check(CLI::Range(0, 8))
      ->capture_default_str();
  app.add_option("--json", json, "Also write everything to this file");
  app.add_option("--trace", trace, "timelines of decode steps on all GPUs: to files that begin so");
  app.add_option("--sections", sections, "Only these")
      ->delimiter(',')
      ->check(CLI::IsMember({"exact", "decode", "routes", "partials", "settling", "hot_shard"}));
  CLI11_PARSE(app, argc, argv);
  // The engine's stream waits for words (docs/decisions.md): kernels must be there before, and no
  // other stream may share its hardware queue.
  setenv("CUDA_MODULE_LOADING", "EAGER", 0);
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
  int found = 0;
  if (cudaGetDeviceCount(&found) != cudaSuccess || found < 2) {
    fmt::print("{} CUDA device(s): at least two are needed, nothing was measured\n", found);
    return 77;
  }
  if (gpus == 0)
    for (gpus = 2; 2 * gpus <= found && gpus < 8;)
      gpus *= 2;
  alarm(560); // a hang ends
  cudaDeviceProp device{};
  if (gpus < 2 || gpus > found || cudaGetDeviceProperties(&device, 0) != cudaSuccess) {
    fmt::print(stderr, "--gpus {}: 2 to {} are possible\n", gpus, found);
    return 1;
  }
  fmt::print("{} of {} {}; 32/8 heads of 128, bf16, pages of 16\n", gpus, found, device.name);
  report out;
  run(gpus, sections, trace, out);
  fmt::print("\n{}; {}\n", out.correct() ? "all that must hold holds" : "SOMETHING IS WRONG",
             out.met() ? "every target is met" : "not every target is met");
  if (!json.empty()) {
    const nlohmann::json all{{"device", device.name}, {"gpus", gpus}, {"figures", out.rows()}};
    if (!(std::ofstream{json} << all.dump(1) << '\n').flush()) {
      fmt::print(stderr, "cannot write {}\n", json);
      return 1;
    }
  }
  return out.correct() ? 0 : 1;
}
