// SPDX-License-Identifier: Apache-2.0
#include "eval/measure.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include <moe_engine/dense_store.hpp>
#include <moe_engine/engine.hpp>
#include <moe_engine/pikv_store.hpp>

#include "eval/study_store.hpp"

namespace pikv::tools {

namespace {

using moe_engine::evaluation_progress;
using moe_engine::evaluation_result;

result<std::unique_ptr<moe_engine::kv_store>> make_store(const eval_row& row, const demo_base& base,
                                                         served_runtime& server,
                                                         moe_engine::thread_team& team) {
  if (row.plain)
    return std::make_unique<moe_engine::dense_store>(base.shape, base.stored, team);
  if (row.study) {
    const config::cache_settings defaults;
    const study_geometry geometry{base.sinks, defaults.window, row.study->page_tokens};
    return std::make_unique<study_store>(base.shape, geometry, row.study, team);
  }
  auto running = server.start(settings_of(row, base));
  if (!running)
    return running.error();
  auto opened = (*running)->open(base.shape);
  if (!opened)
    return opened.error();
  return std::make_unique<moe_engine::pikv_store>(std::move(*opened));
}

/// One row under way.
class row_run {
public:
  row_run(const eval_row& row, const demo_base& base, const demo_input& input,
          const eval_prompts& prompts, const eval_options& options, moe_engine::kv_store& kv,
          moe_engine::thread_team& team, run_state state, const run_callback& callback)
      : row_(row), base_(base), input_(input), prompts_(prompts), options_(options), kv_(kv),
        team_(team), engine_(input.model, kv, team), state_(state), callback_(callback) {}

  result<eval_outcome> run(const eval_outcome* dense) {
    dense_ = dense;
    std::erase_if(tasks_ = pointers(prompts_.tasks),
                  [&](const auto* x) { return hopeless(x->name); });
    state_.tokens_total = std::uint64_t{input_.options.windows} * input_.options.window_bytes;
    for (const auto& x : prompts_.needles)
      state_.tokens_total += tokens_of(x.prompts);
    for (const auto* x : tasks_)
      state_.tokens_total += tokens_of(x->prompts);
    if (auto done = text(); !done)
      return done.error();
    if (auto done = needles(); !done)
      return done.error();
    if (auto done = tasks(); !done)
      return done.error();
    out_.group = row_.group;
    out_.help = row_.help;
    return std::move(out_);
  }

private:
  static std::vector<const eval_prompts::task*> pointers(const std::vector<eval_prompts::task>& x) {
    std::vector<const eval_prompts::task*> out;
    for (const auto& task : x)
      out.push_back(&task);
    return out;
  }

  bool hopeless(const std::string& task) const {
    const auto* score = dense_ == nullptr ? nullptr : score_of(*dense_, task);
    return score != nullptr && !usable(*score);
  }

  result<void> text() {
    auto options = input_.options;
    options.needles = 0; // asked below, with the depths and contexts of this evaluation
    const auto x = moe_engine::evaluate(
        input_.model, kv_, team_, input_.text, options, [&](const evaluation_progress& p) {
          const auto speed = p.seconds > 0 ? static_cast<double>(p.tokens_done) / p.seconds : 0;
          return report(p.tokens_done, speed, p.bits_per_byte);
        });
    if (!x)
      return x.error();
    done_ = x->tokens;
    auto& r = out_.row;
    r.name = row_.name;
    r.kv_bytes = x->kv_bytes_per_token();
    r.tokens_per_second = x->tokens_per_second();
    r.entries = x->entries;
    if (x->predictions > 0)
      r.bits_per_byte = x->bits_per_byte;
    if (x->coverage_samples > 0)
      r.coverage = x->coverage;
    out_.coverage_by_layer = x->coverage_by_layer;
    const auto dense_bytes = dense_ != nullptr && dense_->row.kv_bytes > 0
                                 ? dense_->row.kv_bytes
                                 : plain_bytes_per_token(base_);
    r.read_share = x->read_share();
    if (row_.plain || row_.study) { // a study keeps everything, in f32: no cache to be weighed
      r.kv_share = 1;
      r.kv_bytes = row_.plain ? r.kv_bytes : dense_bytes;
      out_.read_bytes_share = r.read_share;
    } else {
      r.kv_share = r.kv_bytes / dense_bytes;
      out_.read_bytes_share = r.read_share * r.kv_share / std::max(x->kv_kept, 1e-9);
    }
    return {};
  }

  result<void> needles() {
    recall_score longest;
    for (const auto& cell : prompts_.needles) {
      auto score = answers(cell.prompts);
      if (!score)
        return score.error();
      out_.needles.push_back({cell.context, cell.depth, *score});
      if (cell.context == prompts_.needles.back().context)
        longest += *score;
    }
    if (longest.asked > 0)
      out_.row.needle = longest.accuracy();
    return {};
  }

  result<void> tasks() {
    for (const auto* task : tasks_) {
      auto score = answers(task->prompts);
      if (!score)
        return score.error();
      out_.tasks.push_back({task->name, *score});
    }
    return {};
  }

  result<recall_score> answers(std::span<const prompt> prompts) {
    const auto scores = ask(engine_, kv_, input_.model.config.vocabulary, prompts, options_.run,
                            [&](const entry_account& x, std::uint64_t tokens, double seconds) {
                              out_.row.entries += x;
                              done_ += tokens;
                              return report(done_, static_cast<double>(tokens) / seconds,
                                            out_.row.bits_per_byte.value_or(0));
                            });
    if (!scores)
      return scores.error();
    recall_score sum;
    for (const auto& x : *scores)
      sum += x;
    return sum;
  }

  bool report(std::uint64_t tokens, double speed, double bits) {
    state_.tokens_done = std::min(tokens, state_.tokens_total);
    state_.tokens_per_second = speed;
    state_.bits_per_byte = bits;
    return callback_(state_);
  }

  const eval_row& row_;
  const demo_base& base_;
  const demo_input& input_;
  const eval_prompts& prompts_;
  const eval_options& options_;
  moe_engine::kv_store& kv_;
  moe_engine::thread_team& team_;
  moe_engine::engine engine_;
  run_state state_;
  const run_callback& callback_;
  const eval_outcome* dense_ = nullptr;
  std::vector<const eval_prompts::task*> tasks_; ///< those that the model can do
  std::uint64_t done_ = 0;
  eval_outcome out_;
};

} // namespace

result<eval_prompts> prompts_for(const demo_input& input, const eval_options& options) {
  eval_prompts out;
  std::uint64_t seed = options.seed;
  const std::size_t depths = options.depths.size();
  for (const auto context : options.contexts) {
    if (context > input.model.config.max_positions)
      return {errc::invalid_argument, fmt::format("a context of {} tokens; this model takes {}",
                                                  context, input.model.config.max_positions)};
    for (std::size_t i = 0; i < depths; ++i) {
      // As even as the numbers allow; the first depths get what is left over.
      const auto count =
          static_cast<std::uint32_t>(options.needles / depths + (i < options.needles % depths));
      auto prompts = needle_prompts_at(options.depths[i], {input.text, context, ++seed}, count);
      if (!prompts)
        return prompts.error();
      if (count > 0)
        out.needles.push_back({context, options.depths[i], std::move(*prompts)});
    }
  }
  for (const auto& task : options.tasks) {
    auto prompts =
        task_prompts(task, {input.text, options.contexts.back(), ++seed}, options.task_prompts);
    if (!prompts)
      return prompts.error();
    out.tasks.push_back({task, std::move(*prompts)});
  }
  return out;
}

result<void> measure_rows(std::span<const eval_row> rows, const demo_base& base,
                          const demo_input& input, const eval_prompts& prompts,
                          const eval_options& options, served_runtime& server,
                          const run_callback& callback, std::vector<eval_outcome>& outcomes,
                          std::vector<error>& failed) {
  moe_engine::thread_team team{base.threads};
  const auto measure = [&](std::size_t i) -> result<eval_outcome> {
    auto store = make_store(rows[i], base, server, team);
    if (!store)
      return store.error();
    const run_state state{.row = rows[i].name, .index = i, .rows = rows.size()};
    return row_run{rows[i], base, input, prompts, options, **store, team, state, callback}.run(
        dense_of(outcomes));
  };
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto measured = measure(i);
    if (measured)
      outcomes.push_back(std::move(*measured));
    else if (measured.code() == errc::cancelled)
      return measured.error();
    else
      failed.emplace_back(measured.code(),
                          fmt::format("row {}: {}", rows[i].name, measured.error().what));
  }
  return {};
}

} // namespace pikv::tools
