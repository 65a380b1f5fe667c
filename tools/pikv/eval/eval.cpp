// SPDX-License-Identifier: Apache-2.0
// pikv eval: quality of every policy against the bytes that it stores and reads.
#include "command.hpp"

#include "demo/interrupt.hpp"
#include "demo/locate.hpp"
#include "eval/eval_command.hpp"
#include "eval/figures.hpp"
#include "eval/files.hpp"
#include "eval/report.hpp"
#include "text_table.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>

#include <fmt/format.h>

#include <moe_engine/files.hpp>
#include <pikv/policies/table.hpp>

namespace pikv::tools {

namespace {

constexpr int exit_interrupted = 130;

constexpr std::string_view legend =
    "KV B/token is measured where the text was in whole: pages, scales, summaries, window, page "
    "tables, fragmentation. Bytes read: the share of entries read times the bytes of a kept entry "
    "over a dense one's. The needle column is that of the longest context. Speed is this machine's "
    "at this moment and says little on a shared one.";

int list_rows(std::span<const eval_row> rows) {
  text_table table{{{"group"}, {"row"}, {"what it does"}}};
  for (const auto& row : rows)
    table.add({row.group, row.name, row.help});
  fmt::print("{}", table.print());
  return 0;
}

result<demo_input> read_input(const eval_command& o) {
  const auto files = locate(o.model, o.text, model_places());
  if (!files)
    return files.error();
  auto model = moe_engine::load_model(files->model);
  if (!model)
    return model.error();
  if (model->config.vocabulary != 256)
    return {errc::model_file, fmt::format("{}: a vocabulary of {}; tokens must be bytes (256), the "
                                          "evaluation has no tokenizer",
                                          files->model, model->config.vocabulary)};
  auto text = moe_engine::read_bytes(files->text);
  if (!text)
    return text.error();
  demo_input out{std::move(*model), std::move(*text), {}};
  out.options.windows = o.windows;
  out.options.needles = 0;
  out.options.window_bytes = o.eval.contexts.back();
  out.options.sequences = o.base.batch;
  fmt::print(stderr, "model: {}\ntext: {}\n", files->model, files->text);
  return out;
}

result<void> check(const eval_command& o) {
  for (const double x : o.budgets)
    if (!(x > 0 && x < 1))
      return {errc::invalid_argument,
              fmt::format("--budgets {}: shares are above 0 and below 1", x)};
  for (const double x : o.eval.depths)
    if (!(x >= 0 && x <= 1))
      return {errc::invalid_argument, fmt::format("--depths {}: depths are within 0 and 1", x)};
  for (const auto* path : {&o.csv, &o.json})
    if (auto writable = check_writable(*path); !writable)
      return writable;
  return {};
}

/// "all" and "none" beside names.
std::vector<std::string> named_tasks(const std::vector<std::string>& given) {
  if (given == std::vector<std::string>{"none"})
    return {};
  if (given != std::vector<std::string>{"all"})
    return given;
  std::vector<std::string> out;
  for (const auto& x : recall_tasks())
    out.emplace_back(x.name);
  return out;
}

/// What is measured before the rows.
struct first_tables {
  std::vector<recall_row> recall;
  std::vector<form_errors> forms;
};

int print_outcomes(const eval_command& o, std::span<const eval_outcome> outcomes,
                   const first_tables& first) {
  if (!first.recall.empty())
    fmt::print("{}\n", recall_table(first.recall));
  if (!first.forms.empty())
    fmt::print("{}\n", form_errors_table(first.forms));
  fmt::print("{}\n{}", eval_table(outcomes), wrapped(legend, ""));
  std::fflush(stdout);
  if (!o.csv.empty())
    if (const auto written = write_file(o.csv, eval_csv(outcomes)); !written)
      return fail(written.error());
  if (!o.json.empty())
    if (const auto written = write_file(o.json, eval_json(outcomes, first.recall, first.forms));
        !written)
      return fail(written.error());
  if (!o.plots.empty())
    if (const auto written = write_figures(figures_of(outcomes), o.plots); !written)
      return fail(written.error());
  for (const auto& x : outcomes)
    if (!x.row.entries.adds_up())
      return fail({errc::internal, fmt::format("row {}: the entries do not add up", x.row.name)});
  return 0;
}

result<std::vector<recall_row>> recall_of(const eval_command& o, const demo_base& base,
                                          const demo_input& input, const interrupt_guard& interrupt,
                                          progress_line& line) {
  moe_engine::thread_team team{base.threads};
  const config::cache_settings cache;
  const recall_options options{.windows = o.windows,
                               .needles = o.eval.needles,
                               .context = base.context,
                               .seed = o.eval.seed};
  return measure_recall(input.model, input.text, {base.sinks, cache.window, cache.page_tokens},
                        options, team, [&](std::uint32_t done, std::uint32_t of) {
                          line.update({.row = "recall", .tokens_done = done, .tokens_total = of});
                          return !interrupt.asked();
                        });
}

result<std::vector<form_errors>> form_errors_of(const eval_command& o, const demo_base& base,
                                                const demo_input& input,
                                                const interrupt_guard& interrupt,
                                                progress_line& line) {
  moe_engine::thread_team team{base.threads};
  const config::cache_settings cache;
  return measure_form_errors(input.model, input.text, {base.sinks, cache.window, cache.page_tokens},
                             {.windows = o.windows, .context = base.context}, team,
                             [&](std::uint32_t done, std::uint32_t of) {
                               line.update(
                                   {.row = "forms", .tokens_done = done, .tokens_total = of});
                               return !interrupt.asked();
                             });
}

/// What `o` asks for beside rows.
result<first_tables> measure_first(const eval_command& o, const demo_base& base,
                                   const demo_input& input, const interrupt_guard& interrupt,
                                   progress_line& line) {
  first_tables out;
  if (o.routing) {
    auto measured = recall_of(o, base, input, interrupt, line);
    if (!measured)
      return measured.error();
    out.recall = std::move(*measured);
  }
  if (o.forms) {
    auto measured = form_errors_of(o, base, input, interrupt, line);
    if (!measured)
      return measured.error();
    out.forms = std::move(*measured);
  }
  return out;
}

int measure(const eval_command& o, std::span<const eval_row> rows) {
  const auto input = read_input(o);
  if (!input)
    return fail(input.error());
  auto base = o.base;
  base.shape = input->model.config.shape();
  const auto prompts = prompts_for(*input, o.eval);
  if (!prompts)
    return fail(prompts.error());

  const interrupt_guard interrupt;
  served_runtime server{0};
  progress_line line{stderr, isatty(STDERR_FILENO) != 0};
  std::vector<eval_outcome> outcomes;
  std::vector<error> failed;
  const auto first = measure_first(o, base, *input, interrupt, line);
  if (!first)
    return interrupt.asked() ? exit_interrupted : fail(first.error());
  const auto ran = measure_rows(
      rows, base, *input, *prompts, o.eval, server,
      [&](const run_state& x) {
        line.update(x);
        return !interrupt.asked();
      },
      outcomes, failed);
  line.clear();
  int code = outcomes.empty() ? 0 : print_outcomes(o, outcomes, *first);
  for (const auto& x : failed)
    code = fail(x);
  if (!ran && interrupt.asked()) {
    fmt::print(stderr, "interrupted after {} of {} rows\n", outcomes.size(), rows.size());
    return exit_interrupted;
  }
  return ran ? code : fail(ran.error());
}

int run(eval_command o) {
  std::ranges::sort(o.budgets, std::greater{});
  std::ranges::sort(o.eval.contexts);
  std::ranges::sort(o.eval.depths);
  auto rows = eval_rows(policies::catalog(), o.budgets);
  if (o.list)
    return list_rows(rows);
  if (o.routing && o.only.empty())
    o.only = {"dense", "selection", "routing", "study"};
  if (o.forms && o.only.empty())
    o.only = {"dense", "compression"};
  const auto picked = pick_rows(std::move(rows), o.only);
  if (!picked)
    return fail(picked.error());
  if (const auto checked = check(o); !checked)
    return fail(checked.error());
  const std::map<std::string, dtype> dtypes{
      {"f16", dtype::f16}, {"f32", dtype::f32}, {"bf16", dtype::bf16}};
  o.base.stored = dtypes.at(o.stored);
  o.base.context = o.eval.contexts.back();
  o.eval.run.sequences = o.base.batch;
  o.eval.tasks = named_tasks(o.eval.tasks);
  return measure(o, *picked);
}

} // namespace

void add_eval(CLI::App& app, int& code) {
  auto* sub = app.add_subcommand("eval", "Quality of every policy against its bytes, measured");
  sub->footer(
      "Examples:\n"
      "  pikv eval --list                                 what would run\n"
      "  pikv eval --only dense,selection --plots plots   one group beside dense\n"
      "  pikv eval --tasks all --contexts 1024,2048,4096 --needles 64 --windows 8 \\\n"
      "            --csv eval.csv --json eval.json --plots plots   everything; takes hours");
  auto options = std::make_shared<eval_command>();
  add_options(*sub, *options);
  sub->callback([options, &code] { code = run(*options); });
}

} // namespace pikv::tools
