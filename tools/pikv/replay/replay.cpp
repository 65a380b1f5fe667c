// SPDX-License-Identifier: Apache-2.0
// pikv replay: what each scheduling policy would keep of a trace.
#include "../command.hpp"

#include <fstream>
#include <memory>

#include <fmt/format.h>

#include "plot.hpp"
#include "study.hpp"

namespace pikv::tools {

namespace {

struct replay_options {
  std::string file;
  trace_options trace;
  study_options study;
  std::string format = "table";
  std::string svg;
};

int run(const replay_options& o) {
  const auto trace = read_trace(o.file, o.trace);
  if (!trace)
    return fail(trace.error());
  const auto study = run_study(*trace, o.study);
  if (!study)
    return fail(study.error());
  if (!o.svg.empty()) {
    std::ofstream out(o.svg, std::ios::binary);
    out << study_svg(*study);
    if (!out.flush())
      return fail({errc::io_failed, fmt::format("{}: cannot be written", o.svg)});
  }
  fmt::print("{}", o.format == "csv"    ? study_csv(*study)
                   : o.format == "json" ? study_json(*study) + "\n"
                                        : study_text(*study));
  return 0;
}

} // namespace

void add_replay(CLI::App& app, int& code) {
  auto* sub = app.add_subcommand(
      "replay", "What scheduling policies would keep of a trace, beside the best that is possible");
  sub->footer("Examples:\n"
              "  pikv replay examples/traces/chats.jsonl\n"
              "  pikv replay mooncake_trace.jsonl --capacity 5859 --policy lru,lru_plus,belady\n"
              "  pikv replay chats.jsonl --format csv --svg hits.svg");
  auto o = std::make_shared<replay_options>();
  sub->add_option("TRACE", o->file,
                  "Mooncake JSONL, Azure CSV, or PiKV page trace (docs/scheduling.md)")
      ->required();
  sub->add_option("--capacity", o->study.capacities,
                  "Blocks that the cache holds, several separated by commas; none given: 1/32 to "
                  "1/2 of the trace's blocks")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  sub->add_option("--policy", o->study.policies,
                  "Scheduling policies, separated by commas; none given: all that the trace allows")
      ->delimiter(',');
  sub->add_option("--history", o->study.history,
                  "Records of dropped blocks that are kept, in capacities")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  sub->add_option("--format", o->format, "table, csv or json")
      ->check(CLI::IsMember({"table", "csv", "json"}))
      ->capture_default_str();
  sub->add_option("--svg", o->svg, "Also draw hits over capacities into this file");
  auto& t = o->trace;
  sub->add_option("--block-tokens", t.block_tokens,
                  "Tokens of a block, where the trace does not say")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  sub->add_option("--step-tokens", t.step_tokens,
                  "Azure: tokens that are generated between two reads of a request's pages")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  sub->add_option("--token-seconds", t.token_seconds, "Azure: time to generate a token")
      ->check(CLI::Range(1e-6, 1e3))
      ->capture_default_str();
  sub->callback([o, &code] { code = run(*o); });
}

} // namespace pikv::tools
