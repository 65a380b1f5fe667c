// SPDX-License-Identifier: Apache-2.0
#include "eval/recall.hpp"

#include "text_table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <moe_engine/engine.hpp>
#include <moe_engine/evaluate.hpp>
#include <moe_engine/needle.hpp>

#include "eval/prompt_run.hpp"
#include "eval/recall_sums.hpp"
#include "eval/study_store.hpp"

namespace pikv::tools {

namespace {

constexpr std::uint32_t text_rows = 192;

/// Runs something with a watching store and adds up what it saw.
class recall_run {
public:
  recall_run(const moe_engine::model& m, const study_geometry& geometry,
             moe_engine::thread_team& team, std::function<bool(std::uint32_t)> wanted)
      : model_(m), team_(team), sums_(m.config.shape(), geometry),
        store_(m.config.shape(), geometry, std::nullopt, team,
               {std::move(wanted), [this](const study_row& x) {
                  const auto gates = x.layer == 0 ? std::span<const float>{}
                                                  : store_.gates(x.sequence, x.layer - 1);
                  sums_.add(x, gates);
                }}) {}

  result<void> read(std::span<const std::uint8_t> window) {
    const auto done = moe_engine::log_probabilities(model_, store_, team_, window, 128);
    if (!done)
      return done.error();
    return {};
  }

  result<void> answer(const prompt& x) {
    moe_engine::engine e{model_, store_, team_};
    const auto done = ask(e, store_, model_.config.vocabulary, {&x, 1}, {1, 128, false}, {});
    if (!done)
      return done.error();
    return {};
  }

  std::vector<recalls> shares() const { return sums_.shares(); }

private:
  const moe_engine::model& model_;
  moe_engine::thread_team& team_;
  recall_sums sums_;
  study_store store_;
};

std::string cell(double x) { return fmt::format("{:.3f}", x); }

} // namespace

result<std::vector<recall_row>>
measure_recall(const moe_engine::model& m, std::span<const std::uint8_t> text,
               const study_geometry& geometry, const recall_options& options,
               moe_engine::thread_team& team, const recall_callback& callback) {
  if (text.size() < std::uint64_t{options.windows} * options.context)
    return {errc::invalid_argument, fmt::format("{} windows of {} bytes need a longer text",
                                                options.windows, options.context)};
  const auto prompts =
      needle_prompts_at(0.25, {text, options.context, options.seed}, options.needles);
  if (!prompts)
    return prompts.error();
  const auto context = options.context;
  recall_run reading{m, geometry, team, [=](auto at) { return at + text_rows >= context; }};
  recall_run answering{m, geometry, team, [=](auto at) {
                         // The row before each digit; the last digit itself is never fed.
                         return at + moe_engine::code_digits + 1 >= context && at + 1 < context;
                       }};
  std::uint32_t done = 0;
  const auto next = [&](result<void> x) -> result<void> {
    if (x && callback && !callback(++done, options.windows + options.needles))
      return {errc::cancelled, "the callback ended the run"};
    return x;
  };
  for (std::uint32_t i = 0; i < options.windows; ++i)
    if (auto x = next(reading.read(text.subspan(std::size_t{i} * context, context))); !x)
      return x.error();
  for (const auto& x : *prompts)
    if (auto answered = next(answering.answer(x)); !answered)
      return answered.error();
  std::vector<recall_row> out;
  const auto read = reading.shares(), answered = answering.shares();
  for (std::size_t i = 0; i < recall_selectors.size(); ++i)
    out.push_back({std::string{recall_selectors[i]}, read[i], answered[i]});
  return out;
}

std::string recall_table(std::span<const recall_row> rows) {
  std::vector<column> titles{{"recall of old mass"}};
  for (const auto* kind : {"text", "answer"})
    for (const double share : recall_shares)
      titles.push_back({fmt::format("{} {}", kind, share), align::right});
  text_table table{std::move(titles)};
  for (const auto& x : rows) {
    std::vector<std::string> cells{x.selector};
    for (const auto* kind : {&x.text, &x.answer})
      for (const double share : *kind)
        cells.push_back(cell(share));
    table.add(std::move(cells));
  }
  return table.print();
}

nlohmann::ordered_json recall_json(std::span<const recall_row> rows) {
  auto out = nlohmann::ordered_json::array();
  for (const auto& x : rows)
    out.push_back({{"selector", x.selector}, {"text", x.text}, {"answer", x.answer}});
  return out;
}

} // namespace pikv::tools
