// SPDX-License-Identifier: Apache-2.0
#include "eval/eval_command.hpp"

namespace pikv::tools {

namespace {

void add_work(CLI::App& sub, eval_command& o) {
  sub.add_option("--model", o.model,
                 "Folder of a byte-level Mixtral-layout model: config.json and model.safetensors; "
                 "none: tiny_moe, looked for as by `pikv demo`");
  sub.add_option("--text", o.text, "Text to predict; none: eval_text.txt of the model's folder");
  sub.add_option("--only", o.only,
                 "Only these rows or groups, separated by commas; none: all but the group study")
      ->delimiter(',');
  sub.add_flag("--routing", o.routing,
               "First the recall of old attention mass by selector, on text and on rows that "
               "answer; then, for no other rows named, dense, selection, routing and study");
  sub.add_flag("--forms", o.forms,
               "First what each form does to K, V, logits and outputs of the text's last rows; "
               "then, for no other rows named, dense and compression");
  sub.add_flag("--list", o.list, "List the rows and end");
  sub.add_option("--windows", o.windows, "Windows of the text to predict")->capture_default_str();
  sub.add_option("--contexts", o.eval.contexts,
                 "Tokens of needle prompts; the longest is also that of windows and tasks")
      ->delimiter(',')
      ->check(CLI::Range(256U, 1U << 20))
      ->capture_default_str();
  sub.add_option("--needles", o.eval.needles, "Needle prompts in each context")
      ->capture_default_str();
  sub.add_option("--depths", o.eval.depths, "Depths of the needles in the context, 0 to 1")
      ->delimiter(',')
      ->capture_default_str();
  sub.add_option("--tasks", o.eval.tasks,
                 "Of multi_key, multi_value, multi_query, variable, common_words, frequent_words; "
                 "or all, or none")
      ->delimiter(',')
      ->default_str("none");
  sub.add_option("--task-prompts", o.eval.task_prompts, "Prompts of each task")
      ->capture_default_str();
  sub.add_option("--budgets", o.budgets, "Shares of the entries that evicting rows keep")
      ->delimiter(',')
      ->capture_default_str();
  sub.add_flag("--query-aware", o.eval.run.query_aware,
               "The first question goes in with the end of the context, before what settles is "
               "waited for");
}

void add_machine(CLI::App& sub, eval_command& o) {
  sub.add_option("--backend", o.base.backend, "Backend of the device")->capture_default_str();
  sub.add_option("--kv-dtype", o.stored, "What raw pages and the dense row keep")
      ->check(CLI::IsMember({"f16", "f32", "bf16"}))
      ->capture_default_str();
  sub.add_option("--sinks", o.base.sinks, "First entries, always read; pages begin after them")
      ->capture_default_str();
  sub.add_option("--threads,--jobs", o.base.threads, "Threads; 0: one per core")
      ->capture_default_str();
  sub.add_option("--csv", o.csv, "Also write the rows to this file");
  sub.add_option("--json", o.json, "Also write the rows to this file");
  sub.add_option("--plots", o.plots, "Also draw pictures (SVG) into this folder");
}

} // namespace

void add_options(CLI::App& sub, eval_command& o) {
  add_work(sub, o);
  add_machine(sub, o);
}

} // namespace pikv::tools
