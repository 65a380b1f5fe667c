// SPDX-License-Identifier: Apache-2.0
// pikv demo: what each way to keep and read a cache costs on a small model, measured.
#include "command.hpp"

#include "demo/interrupt.hpp"
#include "demo/load.hpp"
#include "demo/load_plan.hpp"
#include "demo/locate.hpp"
#include "demo/run.hpp"
#include "demo/trace_file.hpp"
#include "text_table.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>

#include <fmt/format.h>

#include <moe_engine/files.hpp>

namespace pikv::tools {
namespace {

constexpr int exit_interrupted = 130;

struct demo_options {
  std::string model, text, json, trace, config;
  std::vector<std::string> only;
  std::string stored = "f16";
  demo_base base;
  std::uint32_t windows = 2;
  std::uint32_t needles = 16;
  std::uint16_t port = 9464;
  bool serve = false;
  bool load = false;
  double load_rate = load_options{}.tokens_per_second;
  std::uint32_t load_every = 20;
  bool list = false;
};

const std::map<std::string, dtype> dtypes{
    {"f16", dtype::f16}, {"f32", dtype::f32}, {"bf16", dtype::bf16}};

constexpr std::string_view legend =
    "KV B/token is measured: pages, scales, summaries, window, page tables, fragmentation. Entries "
    "are (query row, KV head, entry) triples; existing = read + not routed + not selected + "
    "evicted "
    "+ lost. Coverage is the share of the softmax mass that was read, measured on the text.";

int list_rows() {
  text_table table{{{"row"}, {"what it does"}}};
  for (const auto& row : demo_rows())
    table.add({std::string{row.name}, std::string{row.help}});
  fmt::print("{}", table.print());
  return 0;
}

/// Also says in `o.base` what the model is.
result<demo_input> read_input(demo_options& o) {
  const auto files = locate(o.model, o.text, model_places());
  if (!files)
    return files.error();
  auto model = moe_engine::load_model(files->model);
  if (!model)
    return model.error();
  auto text = moe_engine::read_bytes(files->text);
  if (!text)
    return text.error();
  demo_input out{std::move(*model), std::move(*text), {}};
  out.options.windows = o.windows;
  out.options.needles = o.needles;
  out.options.window_bytes = o.base.context;
  out.options.sequences = o.base.batch;
  o.base.stored = dtypes.at(o.stored);
  o.base.shape = out.model.config.shape();
  fmt::print(stderr, "model: {}\ntext: {}\n", files->model, files->text);
  return out;
}

result<void> write_json(const std::string& path, std::span<const row_outcome> outcomes) {
  std::ofstream file{path, std::ios::trunc};
  file << demo_json(outcomes);
  file.close();
  if (!file)
    return {errc::io_failed, fmt::format("cannot write {}", path)};
  return {};
}

int print_outcomes(const demo_options& o, std::span<const row_outcome> outcomes) {
  fmt::print("{}\n{}", demo_table(outcomes), wrapped(legend, ""));
  std::fflush(stdout);
  if (!o.json.empty())
    if (const auto written = write_json(o.json, outcomes); !written)
      return fail(written.error());
  for (const auto& row : outcomes)
    if (!row.entries.adds_up())
      return fail({errc::internal, fmt::format("row {}: the entries do not add up", row.name)});
  return 0;
}

void serve_until_interrupted(const served_runtime& server, const interrupt_guard& interrupt) {
  if (server.url().empty()) {
    fmt::print(stderr, "nothing to serve: the dense row alone runs without PiKV\n");
    return;
  }
  fmt::print(stderr, "serving {} until Ctrl-C\n", server.url());
  interrupt.wait();
}

int print_load(const result<load_outcome>& ran) {
  if (!ran)
    return fail(ran.error());
  fmt::print(stderr, "load: {} tokens, {} sequences, {} reloads, {} failed passes\n", ran->tokens,
             ran->sequences, ran->reloads, ran->errors);
  return ran->entries.adds_up() ? 0 : fail({errc::internal, "the entries do not add up"});
}

int load_until_interrupted(demo_options& o) {
  const auto rows = pick_load_rows(o.only);
  if (!rows)
    return fail(rows.error());
  const auto input = read_input(o);
  if (!input)
    return fail(input.error());
  std::vector<config::settings> rotation;
  if (o.config.empty())
    for (const auto& row : *rows)
      rotation.push_back(load_settings(row, o.base));

  const interrupt_guard interrupt;
  served_runtime server{o.port};
  const auto running = o.config.empty() ? server.start(rotation.front()) : server.follow(o.config);
  if (!running)
    return fail(running.error());
  fmt::print(stderr, "load until Ctrl-C\n");
  const load_options options{o.load_rate, std::chrono::seconds{o.load_every}, o.base.batch,
                             load_tokens(o.base), o.base.threads};
  return print_load(run_load(**running, input->model, input->text, rotation, options,
                             [&] { return interrupt.asked(); }));
}

int run(demo_options o) {
  if (o.list)
    return list_rows();
  if (o.load)
    return load_until_interrupted(o);
  const auto rows = pick_rows(o.only);
  if (!rows)
    return fail(rows.error());
  auto trace = trace_file::open(o.trace);
  if (!trace)
    return fail(trace.error());
  const auto input = read_input(o);
  if (!input)
    return fail(input.error());

  const interrupt_guard interrupt;
  served_runtime server{o.port};
  progress_line line{stderr, isatty(STDERR_FILENO) != 0};
  std::vector<row_outcome> outcomes;
  const auto go_on = [&](const run_state& x) {
    line.update(x);
    return !interrupt.asked();
  };
  const auto ran = run_rows(*rows, o.base, *input, server, go_on, outcomes);
  line.clear();
  int code = outcomes.empty() ? 0 : print_outcomes(o, outcomes);
  if (const auto written = trace->finish(); !written)
    code = fail(written.error());
  if (!ran && interrupt.asked()) {
    fmt::print(stderr, "interrupted after {} of {} rows\n", outcomes.size(), rows->size());
    return exit_interrupted;
  }
  if (!ran)
    return fail(ran.error());
  if (o.serve)
    serve_until_interrupted(server, interrupt);
  return code;
}

void add_work(CLI::App& sub, demo_options& o) {
  sub.add_option("--model", o.model,
                 "Folder with config.json and model.safetensors; none: ./examples/tiny_moe, then "
                 "../share/pikv/tiny_moe beside the executable, then that of the source tree");
  sub.add_option("--text", o.text, "Text to predict; none: eval_text.txt of the model's folder");
  sub.add_option("--windows", o.windows, "Windows of the text to predict")->capture_default_str();
  sub.add_option("--needles", o.needles, "Needle prompts to answer")->capture_default_str();
  sub.add_option("--context", o.base.context, "Tokens of a window and of a prompt")
      ->check(CLI::Range(256U, 1U << 20))
      ->capture_default_str();
  sub.add_option("--only", o.only, "Only these rows, separated by commas")->delimiter(',');
  sub.add_flag("--list", o.list, "List the rows and end");
}

void add_machine(CLI::App& sub, demo_options& o) {
  sub.add_option("--backend", o.base.backend, "Backend of the device")->capture_default_str();
  sub.add_option("--kv-dtype", o.stored, "What raw pages and the dense row keep")
      ->check(CLI::IsMember({"f16", "f32", "bf16"}))
      ->capture_default_str();
  sub.add_option("--sinks", o.base.sinks, "First entries, always read; pages begin after them")
      ->capture_default_str();
  sub.add_option("--threads", o.base.threads, "Threads; 0: one per core")->capture_default_str();
  sub.add_option("--json", o.json, "Also write the rows to this file");
  sub.add_option("--trace", o.trace,
                 "Also write what the streams did, for chrome://tracing or ui.perfetto.dev");
  sub.add_option("--port", o.port, "Of the metrics; a free one when it is taken")
      ->capture_default_str();
  sub.add_flag("--serve", o.serve, "Go on serving the metrics of the last row until Ctrl-C");
}

void add_load(CLI::App& sub, demo_options& o) {
  auto* load = sub.add_flag("--load", o.load,
                            "No table: keep a small load running until Ctrl-C, on the rows of "
                            "--only in turn (none: a few that differ most), for dashboards");
  sub.add_option("--load-rate", o.load_rate, "Tokens per second of the load; 0: no limit")
      ->check(CLI::NonNegativeNumber)
      ->needs(load)
      ->capture_default_str();
  sub.add_option("--load-every", o.load_every, "Seconds before the load goes to the next row")
      ->check(CLI::Range(1U, 86400U))
      ->needs(load)
      ->capture_default_str();
  sub.add_option("--config", o.config,
                 "Load under this configuration file instead, and follow it: SIGHUP and "
                 "POST /-/reload read it again; --port and --only do not count")
      ->needs(load);
}

} // namespace

void add_demo(CLI::App& app, int& code) {
  auto* sub = app.add_subcommand("demo", "What policies cost on a small model, measured");
  sub->footer("Examples:\n"
              "  pikv demo                                        every row; takes minutes\n"
              "  pikv demo --only dense,mass_per_head_1_8 --windows 1 --needles 8\n"
              "  pikv demo --only int4 --serve                    look at the metrics afterwards\n"
              "  pikv demo --load                                 metrics that move, until Ctrl-C\n"
              "  pikv demo --only int8 --windows 1 --needles 0 --trace trace.json");
  auto options = std::make_shared<demo_options>();
  add_work(*sub, *options);
  add_machine(*sub, *options);
  add_load(*sub, *options);
  sub->callback([options, &code] { code = run(*options); });
}
} // namespace pikv::tools
