// SPDX-License-Identifier: Apache-2.0
#include "eval/report.hpp"

#include "text_table.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace pikv::tools {

namespace {

constexpr auto unknown = "-";

std::string percent(double share, int digits = 1) {
  return fmt::format("{:.{}f}%", 100 * share, digits);
}

std::string signed_percent(const std::optional<double>& share) {
  return share ? fmt::format("{:+.2f}%", 100 * *share) : unknown;
}

column right(std::string title) { return {std::move(title), align::right}; }

std::string cell_name(const needle_cell& x) { return fmt::format("{}/{}", x.context, x.depth); }

/// Names of all needle cells and of all tasks that any row has, in the order of the first that has
/// them.
template <class List, class Name>
std::vector<std::string> names_in(std::span<const eval_outcome> all, List&& list, Name&& name) {
  std::vector<std::string> out;
  for (const auto& row : all)
    for (const auto& x : list(row))
      if (std::ranges::find(out, name(x)) == out.end())
        out.push_back(name(x));
  return out;
}

std::vector<std::string> cell_names(std::span<const eval_outcome> all) {
  return names_in(
      all, [](const auto& x) -> const auto& { return x.needles; }, cell_name);
}

std::vector<std::string> task_names(std::span<const eval_outcome> all) {
  return names_in(
      all, [](const auto& x) -> const auto& { return x.tasks; },
      [](const task_outcome& x) { return x.task; });
}

const recall_score* cell_of(const eval_outcome& x, std::string_view name) {
  for (const auto& cell : x.needles)
    if (cell_name(cell) == name)
      return &cell.score;
  return nullptr;
}

std::string cost_table(std::span<const eval_outcome> all) {
  text_table table{{{"row"},
                    right("KV B/token"),
                    right("of dense"),
                    right("entries read"),
                    right("bytes read"),
                    right("bits/byte"),
                    right("vs dense"),
                    right("needle"),
                    right("coverage"),
                    right("tokens/s"),
                    {"adds up"}}};
  for (const auto& x : all) {
    const auto& r = x.row;
    const bool text = r.bits_per_byte.has_value(); // costs are measured with the text
    table.add({r.name, text ? fmt::format("{:.0f}", r.kv_bytes) : unknown,
               text ? percent(r.kv_share) : unknown, text ? percent(r.read_share) : unknown,
               text ? percent(x.read_bytes_share) : unknown,
               text ? fmt::format("{:.4f}", *r.bits_per_byte) : unknown,
               signed_percent(loss_of(x, all)), r.needle ? percent(*r.needle) : unknown,
               r.coverage ? fmt::format("{:.4f}", *r.coverage) : unknown,
               text ? fmt::format("{:.0f}", r.tokens_per_second) : unknown,
               r.entries.adds_up() ? "yes" : "NO"});
  }
  return table.print();
}

/// Shares right by row and column; `score(row, column)` may be null.
template <class Score>
std::string score_table(std::span<const eval_outcome> all, const std::vector<std::string>& columns,
                        Score&& score) {
  std::vector<column> titles{{"row"}};
  for (const auto& name : columns)
    titles.push_back(right(name));
  text_table table{std::move(titles)};
  for (const auto& x : all) {
    std::vector<std::string> cells{x.row.name};
    for (const auto& name : columns) {
      const auto* s = score(x, name);
      cells.push_back(s == nullptr ? unknown : percent(s->accuracy(), 0));
    }
    table.add(std::move(cells));
  }
  return table.print();
}

std::string unusable_text(std::span<const eval_outcome> all) {
  std::string out;
  for (const auto& x : unusable_tasks(all))
    out +=
        fmt::format("not usable on this model: {} (dense: {} of {} answers right; the first byte "
                    "chooses right in {:.0f}% of {}, blind choice in {:.0f}%)\n",
                    x.task, x.score.right, x.score.asked, 100 * x.score.choice_accuracy(),
                    x.score.choices, 100 * x.score.chance_accuracy());
  return out;
}

std::string quoted(const std::string& x) {
  if (x.find_first_of(",\"\r\n") == std::string::npos)
    return x;
  std::string out = "\"";
  for (const char c : x)
    out += c == '"' ? std::string{"\"\""} : std::string{c};
  return out + '"';
}

std::string number(const std::optional<double>& x) { return x ? fmt::format("{:.6g}", *x) : ""; }

nlohmann::ordered_json value_or_null(const std::optional<double>& x) {
  return x ? nlohmann::ordered_json(*x) : nlohmann::ordered_json(nullptr);
}

nlohmann::ordered_json score_json(const recall_score& x) {
  return {{"asked", x.asked},
          {"right", x.right},
          {"choices", x.choices},
          {"chosen", x.chosen},
          {"chance", x.chance}};
}

nlohmann::ordered_json row_json(const eval_outcome& x, std::span<const eval_outcome> all) {
  const auto& r = x.row;
  auto needles = nlohmann::ordered_json::array();
  for (const auto& cell : x.needles)
    needles.push_back({{"context", cell.context},
                       {"depth", cell.depth},
                       {"asked", cell.score.asked},
                       {"right", cell.score.right}});
  auto tasks = nlohmann::ordered_json::array();
  for (const auto& task : x.tasks) {
    tasks.push_back({{"task", task.task}});
    tasks.back().update(score_json(task.score));
  }
  return {{"name", r.name},
          {"group", x.group},
          {"help", x.help},
          {"kv_bytes", r.kv_bytes},
          {"kv_share", r.kv_share},
          {"read_share", r.read_share},
          {"read_bytes_share", x.read_bytes_share},
          {"bits_per_byte", value_or_null(r.bits_per_byte)},
          {"loss", value_or_null(loss_of(x, all))},
          {"coverage", value_or_null(r.coverage)},
          {"coverage_by_layer", x.coverage_by_layer},
          {"needle", value_or_null(r.needle)},
          {"needles", std::move(needles)},
          {"tasks", std::move(tasks)},
          {"tokens_per_second", r.tokens_per_second},
          {"entries", entries_json(r.entries)}};
}

} // namespace

std::string eval_table(std::span<const eval_outcome> all) {
  auto out = cost_table(all);
  if (const auto cells = cell_names(all); !cells.empty())
    out += "\nneedles found, by context/depth\n" + score_table(all, cells, cell_of);
  if (const auto tasks = task_names(all); !tasks.empty())
    out += "\nanswers right\n"
           + score_table(all, tasks, [](const auto& x, const auto& n) { return score_of(x, n); });
  return out + unusable_text(all);
}

std::string eval_csv(std::span<const eval_outcome> all) {
  const auto cells = cell_names(all);
  const auto tasks = task_names(all);
  std::string out = "name,group,kv_bytes,kv_share,read_share,read_bytes_share,bits_per_byte,loss,"
                    "coverage,needle,tokens_per_second,existing,read,not_routed,not_selected,"
                    "evicted,lost";
  for (const auto& name : cells)
    out += ",needle@" + name;
  for (const auto& name : tasks)
    out += fmt::format(",{0},{0}.choice", name);
  for (const auto& x : all) {
    const auto& r = x.row;
    const auto& e = r.entries;
    out += fmt::format("\n{},{},{:.6g},{:.6g},{:.6g},{:.6g},{},{},{},{},{:.6g},{},{},{},{},{},{}",
                       quoted(r.name), quoted(x.group), r.kv_bytes, r.kv_share, r.read_share,
                       x.read_bytes_share, number(r.bits_per_byte), number(loss_of(x, all)),
                       number(r.coverage), number(r.needle), r.tokens_per_second, e.existing,
                       e.read, e.not_routed, e.not_selected, e.evicted, e.lost);
    for (const auto& name : cells) {
      const auto* s = cell_of(x, name);
      out += s == nullptr ? "," : fmt::format(",{:.6g}", s->accuracy());
    }
    for (const auto& name : tasks) {
      const auto* s = score_of(x, name);
      out +=
          s == nullptr ? ",," : fmt::format(",{:.6g},{:.6g}", s->accuracy(), s->choice_accuracy());
    }
  }
  return out + '\n';
}

std::string eval_json(std::span<const eval_outcome> all, std::span<const recall_row> recall,
                      std::span<const form_errors> forms) {
  auto rows = nlohmann::ordered_json::array();
  for (const auto& x : all)
    rows.push_back(row_json(x, all));
  auto unusable = nlohmann::ordered_json::array();
  for (const auto& x : unusable_tasks(all))
    unusable.push_back(x.task);
  return nlohmann::ordered_json{{"rows", std::move(rows)},
                                {"unusable_tasks", std::move(unusable)},
                                {"recall", recall_json(recall)},
                                {"forms", form_errors_json(forms)}}
             .dump(2)
         + '\n';
}

std::vector<task_outcome> unusable_tasks(std::span<const eval_outcome> all) {
  std::vector<task_outcome> out;
  if (const auto* dense = dense_of(all); dense != nullptr)
    for (const auto& x : dense->tasks)
      if (!usable(x.score))
        out.push_back(x);
  return out;
}

} // namespace pikv::tools
