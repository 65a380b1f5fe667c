// SPDX-License-Identifier: Apache-2.0
// pikv plan: what a cache costs, before anything runs.
#include "command.hpp"

#include "plan_model.hpp"
#include "plan_report.hpp"

#include <map>
#include <memory>

#include <fmt/format.h>

namespace pikv::tools {

namespace {

struct plan_options {
  std::string model;
  kv_model custom{.name = "custom", .note = "shape from the command line"};
  plan_request request;
  std::string stored = "f16";
  std::string raw = "f16";
  std::string selection = "none";
  std::string backend = "host";
  std::uint32_t kept_pages = 64;
  bool json = false;
};

const std::map<std::string, form> forms{
    {"f32", form::f32},   {"f16", form::f16},  {"bf16", form::bf16}, {"int8", form::int8},
    {"int4", form::int4}, {"fp8", form::fp8},  {"int3", form::int3}, {"int2", form::int2},
    {"k4v2", form::k4v2}, {"k3v2", form::k3v2}};
const std::map<std::string, std::uint8_t> summaries{
    {"none", gpu::summary_none}, {"mass", gpu::summary_mean_var}, {"quest", gpu::summary_min_max}};

std::string model_names() {
  std::string out;
  for (const auto& model : known_models())
    out += fmt::format("{}{}", out.empty() ? "" : ", ", model.name);
  return out;
}

int run(plan_options options) {
  auto& x = options.request;
  x.model = options.custom;
  x.model.v_dim = x.model.k_dim;
  if (x.model.query_heads == 0)
    x.model.query_heads = x.model.kv_heads;
  if (!options.model.empty()) {
    const auto* found = find_model(options.model);
    if (found == nullptr)
      return fail({errc::invalid_argument, fmt::format("there is no model \"{}\"; known: {}",
                                                       options.model, model_names())});
    x.model = *found;
  }
  if (x.context == 0)
    x.context = x.model.context != 0 ? x.model.context : 32768;
  x.stored = forms.at(options.stored);
  x.raw = is_raw(x.stored) ? x.stored : forms.at(options.raw);
  x.table_copies = options.backend == "cuda";
  x.summary_parts = summaries.at(options.selection);
  if (const auto valid = check(x); !valid)
    return fail(valid.error());
  const auto report = options.json ? plan_json(x, options.selection, options.kept_pages)
                                   : plan_text(x, options.selection, options.kept_pages);
  fmt::print("{}\n", report);
  return 0;
}

void add_shape(CLI::App& sub, plan_options& o) {
  auto* name = sub.add_option("--model", o.model, "A known shape: " + model_names());
  const auto number = [&](const char* flag, std::uint32_t& target, const char* help) {
    sub.add_option(flag, target, help)->excludes(name)->group("Another shape");
  };
  number("--layers", o.custom.layers, "Layers that keep K and V");
  number("--query-heads", o.custom.query_heads, "Query heads; none given: the KV heads");
  number("--kv-heads", o.custom.kv_heads, "KV heads");
  number("--head-dim", o.custom.k_dim, "Values of a head, a multiple of 32 up to 256");
  number("--experts", o.custom.experts, "Experts; only the paper's formulas read it");
}

void add_load(CLI::App& sub, plan_options& o) {
  auto& x = o.request;
  sub.add_option("--context", x.context, "Tokens of each sequence; none given: the model's own");
  sub.add_option("--sequences", x.sequences, "Sequences open at once")->capture_default_str();
  sub.add_option("--gpus", x.gpus, "Devices")->capture_default_str();
  sub.add_option("--append", x.append_tokens,
                 "Tokens of the longest append; tables of windows keep the room that it took")
      ->capture_default_str();
}

void add_cache(CLI::App& sub, plan_options& o) {
  auto& x = o.request;
  sub.add_option("--form", o.stored, "Form of settled pages")
      ->check(CLI::IsMember(
          {"f16", "bf16", "f32", "fp8", "int8", "int4", "int3", "int2", "k4v2", "k3v2"}))
      ->capture_default_str();
  sub.add_option("--raw", o.raw, "Form of sinks and window where --form is not raw")
      ->check(CLI::IsMember({"f16", "bf16", "f32"}))
      ->capture_default_str();
  sub.add_option("--page", x.page_tokens, "Tokens of a page: 8, 16, 32, 64")->capture_default_str();
  sub.add_option("--window", x.window, "Most recent tokens, kept raw")->capture_default_str();
  sub.add_option("--sinks", x.sinks, "First tokens, kept raw")->capture_default_str();
  sub.add_option("--shards", x.shards, "Shards, dealt to the devices")->capture_default_str();
  sub.add_flag("--entries", x.entries,
               "cache.granularity entry: each shard keeps a page open, half full on average");
  sub.add_option("--selection", o.selection,
                 "What queries select pages by, hence which summaries pages carry")
      ->check(CLI::IsMember({"none", "mass", "quest"}))
      ->capture_default_str();
  sub.add_option("--backend", o.backend, "On cuda, devices keep copies of the page tables")
      ->check(CLI::IsMember({"host", "cuda"}))
      ->capture_default_str();
  sub.add_option("--kept-pages", o.kept_pages, "K of the paper's formulas")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

} // namespace

void add_plan(CLI::App& app, int& code) {
  auto* sub = app.add_subcommand("plan", "What a cache costs: bytes per device, every overhead in");
  sub->footer("Examples:\n"
              "  pikv plan --model mixtral-8x7b --context 32768 --sequences 16 --gpus 8\n"
              "  pikv plan --model qwen3-30b-a3b --form int4 --page 32 --selection mass --json\n"
              "  pikv plan --layers 6 --query-heads 8 --kv-heads 4 --head-dim 32 --context 4096");
  auto options = std::make_shared<plan_options>();
  add_shape(*sub, *options);
  add_load(*sub, *options);
  add_cache(*sub, *options);
  sub->add_flag("--json", options->json, "One JSON object instead of tables");
  sub->callback([options, &code] { code = run(*options); });
}

} // namespace pikv::tools
