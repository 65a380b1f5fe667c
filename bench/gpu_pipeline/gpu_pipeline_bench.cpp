// SPDX-License-Identifier: Apache-2.0
// Whether the streams of one GPU overlap when only events order their tasks: a decode step's append
// and attention on compute, encoding on codec, copies to the host on copy, for every layer of a
// model. The streams are the device interface's; no actors take part. Times are the host's, from
// the first enqueue to the end of the last task, medians of runs that take turns.
//
//   gpu_pipeline_bench [--layers 32 --encode-pages 512 --copy-pages 96 --runs 21] [--trace file]
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <pikv/gpu/trace.hpp>

#include "pipeline.hpp"
#include "traffic.hpp"

namespace pikv::bench {
namespace {

constexpr double pipeline_target = 1.15; ///< of the longest stage
constexpr double beside_target = 1.05;   ///< of attention alone
constexpr int warm_ups = 3;

/// Milliseconds of one run, of each kind in turn.
std::vector<double> medians(int runs, std::initializer_list<std::function<double()>> kinds) {
  std::vector<std::vector<double>> times(kinds.size());
  for (int i = 0; i < warm_ups + runs; ++i) {
    std::size_t at = 0;
    for (const auto& run : kinds)
      if (const double ms = run(); i >= warm_ups)
        times[at++].push_back(ms);
  }
  std::vector<double> x;
  for (auto& t : times)
    x.push_back(median(std::move(t)));
  return x;
}

void line(const char* what, double ms) { fmt::print("{:44}{:9.3f} ms\n", what, ms); }

const char* verdict(bool reached) { return reached ? "" : ": missed"; }

void measure_pipeline(pipeline& p, const pipeline_sizes& sizes, int runs) {
  const auto ms = medians(runs, {[&] { return p.append(); }, [&] { return p.attend(); },
                                 [&] { return p.encode(); }, [&] { return p.copy(); },
                                 [&] { return p.compute(); }, [&] { return p.together(); }});
  const double append = ms[0], attend = ms[1], encode = ms[2], copy = ms[3], compute = ms[4],
               together = ms[5];
  const double longest = std::max({compute, encode, copy});
  line("append alone", append);
  line("attention alone", attend);
  line("stage on compute: append and attention", compute);
  line("stage on codec: encode", encode);
  line("stage on copy: encoded pages to the host", copy);
  line("sum of the stages", compute + encode + copy);
  line("longest stage", longest);
  line("all together", together);
  fmt::print("all together over the longest stage: {:.3f} (target <= {}{})\n", together / longest,
             pipeline_target, verdict(together <= pipeline_target * longest));
  fmt::print("all together over the sum: {:.3f}\n", together / (compute + encode + copy));
  fmt::print("copies alone: {:.1f} GB/s\n", static_cast<double>(sizes.host_bytes()) / copy / 1e6);
  if (const double shortest = std::min({compute, encode, copy}); shortest < 1)
    fmt::print("note: a stage takes less than 1 ms; choose more layers or pages\n");
}

/// One run of attention; `tasks` of copies in each direction begin before it.
struct beside_run {
  double attention_ms = 0;
  bool covered = true; ///< copies went on until attention had ended
};

beside_run attention_beside(pipeline& p, traffic& copies, int tasks) {
  beside_run x;
  copies.enqueue(tasks);
  x.attention_ms = milliseconds({&p.compute_stream()}, [&] { p.enqueue_attention(); });
  x.covered = copies.busy();
  copies.wait();
  return x;
}

/// Tasks of copies that take twice as long as attention.
int tasks_to_cover(double attention_ms, traffic& copies) {
  constexpr int sample = 32;
  const auto copy = [&] {
    return milliseconds({}, [&] {
      copies.enqueue(sample);
      copies.wait();
    });
  };
  const double ms = medians(5, {copy})[0] / sample;
  fmt::print("copies of 64 KiB blocks, nothing beside: {:.1f} GB/s each way at once\n",
             static_cast<double>(traffic::task_bytes) / ms / 1e6);
  return std::max(4, static_cast<int>(std::ceil(2 * attention_ms / ms)));
}

void measure_beside(pipeline& p, traffic& copies, int runs) {
  const double first = medians(5, {[&] { return p.attend(); }})[0];
  const int tasks = tasks_to_cover(first, copies);
  int uncovered = 0;
  const auto ms = medians(runs, {[&] { return p.attend(); },
                                 [&] {
                                   const auto x = attention_beside(p, copies, tasks);
                                   uncovered += !x.covered;
                                   return x.attention_ms;
                                 }});
  line("attention, no copies beside", ms[0]);
  line("attention, 64 KiB blocks both ways beside", ms[1]);
  fmt::print("with copies over without: {:.3f} (target <= {}{})\n", ms[1] / ms[0], beside_target,
             verdict(ms[1] <= beside_target * ms[0]));
  if (uncovered > 0)
    fmt::print("note: in {} of {} runs copies of one direction ended before attention did\n",
               uncovered, runs + warm_ups);
}

void write_trace(std::ofstream& file, pipeline& p, traffic& copies) {
  gpu::trace::start();
  p.together();
  attention_beside(p, copies, 32);
  gpu::trace::stop();
  gpu::trace::write(file);
  file.close();
  if (!file)
    stop({errc::io_failed, "the trace could not be written"});
}

int run(const pipeline_sizes& sizes, int runs, const std::string& trace) {
  std::ofstream trace_file;
  if (!trace.empty()) {
    trace_file.open(trace, std::ios::trunc);
    if (!trace_file)
      stop({errc::io_failed, fmt::format("cannot write the trace to {}", trace)});
  }
  gpu::device_options o;
  o.memory_bytes = std::size_t{64} << 20; // pages lie in memory of the bench's own
  o.scratch_bytes = 2 * (sizes.host_bytes() + traffic::host_bytes); // room for rounding
  o.spin = std::chrono::microseconds{2000};
  const auto device = must(gpu::make_device("cuda", o));
  must_end(device->supports(dims, form::bf16));
  fmt::print("{}\n", device->describe());
  fmt::print("{} layers; {} rows appended; {} x {} attended, 32/8 heads, d 128, bf16, pages of 16; "
             "{} pages encoded to int8, {} of them copied\n",
             sizes.layers, sizes.rows, sizes.sequences, sizes.context, sizes.encode_pages,
             sizes.copy_pages);
  pipeline p(*device, sizes);
  if (!p.correct()) {
    fmt::print("WRONG: the pipeline's pages are not those of its stages one after another\n");
    return 1;
  }
  measure_pipeline(p, sizes, runs);
  traffic copies(*device);
  measure_beside(p, copies, runs);
  if (!trace.empty())
    write_trace(trace_file, p, copies);
  return 0;
}

} // namespace
} // namespace pikv::bench

int main(int argc, char** argv) {
  pikv::bench::pipeline_sizes x;
  int runs = 21;
  std::string trace;
  CLI::App app{"Whether the streams of one GPU overlap when only events order their tasks"};
  app.add_option("--layers", x.layers)->check(CLI::Range(1, 128))->capture_default_str();
  app.add_option("--encode-pages", x.encode_pages)
      ->check(CLI::Range(x.rows, x.pages()))
      ->capture_default_str();
  app.add_option("--copy-pages", x.copy_pages)
      ->check(CLI::Range(1U, x.pages()))
      ->capture_default_str();
  app.add_option("--runs", runs)->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--trace", trace, "Also write a timeline of one run of each kind to this file");
  CLI11_PARSE(app, argc, argv);
  if (x.copy_pages > x.encode_pages) {
    fmt::print(stderr, "--copy-pages: at most --encode-pages\n");
    return 2;
  }
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    fmt::print("no CUDA device: nothing was measured\n");
    return 77;
  }
  alarm(300); // a hang ends
  return pikv::bench::run(x, runs, trace);
}
