// SPDX-License-Identifier: Apache-2.0
#include "eval/figures.hpp"

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>

#include <fmt/format.h>

#include "eval/files.hpp"
#include "plot/chart.hpp"
#include "plot/heat_map.hpp"

namespace pikv::tools {

namespace {

/// Losses below it are drawn on it: a logarithmic axis has no zero, and less is noise.
constexpr double least_loss = 1e-4;
constexpr std::size_t most_curves = 8; ///< as many as there are colours

/// Loss over a share of dense, one series per group.
std::optional<plot::chart> pareto(std::span<const eval_outcome> all, const char* what,
                                  double (*share)(const eval_outcome&)) {
  plot::chart out{
      .title = fmt::format("Quality against bytes {}", what),
      .note = "down and left is better; losses below 0.01% are drawn at 0.01%",
      .x = {fmt::format("bytes {}, as a share of dense", what), plot::scale::log, 0, 0, true},
      .y = {"more bits per byte than dense", plot::scale::log, 0, 0, true},
      .lines = {},
      .front = true};
  for (const auto& x : all) {
    const auto loss = loss_of(x, all);
    if (!loss || share(x) <= 0)
      continue;
    auto found = std::ranges::find(out.lines, x.group, &plot::series::name);
    if (found == out.lines.end())
      found = out.lines.insert(out.lines.end(), {x.group, {}, false});
    found->points.push_back({share(x), std::max(*loss, least_loss), x.row.name});
  }
  if (out.lines.empty())
    return std::nullopt;
  return out;
}

std::string number(double x) { return fmt::format("{:.4g}", x); }

std::optional<plot::heat_map> needle_map(std::span<const eval_outcome> all) {
  std::set<double> depths;
  std::set<std::uint32_t> contexts;
  for (const auto& x : all)
    for (const auto& cell : x.needles) {
      depths.insert(cell.depth);
      contexts.insert(cell.context);
    }
  if (depths.empty())
    return std::nullopt;
  plot::heat_map out{.title = "Needles found, percent",
                     .note =
                         "down: depth of the fact in the context; across: tokens of the context",
                     .row_title = "depth",
                     .column_title = "context",
                     .rows = {},
                     .columns = {},
                     .panels = {},
                     .panels_a_line = 5U};
  for (const auto x : depths)
    out.rows.push_back(number(x));
  for (const auto x : contexts)
    out.columns.push_back(std::to_string(x));
  for (const auto& x : all) {
    if (x.needles.empty())
      continue;
    plot::heat_panel panel{x.row.name, {}};
    panel.values.resize(depths.size() * contexts.size());
    for (const auto& cell : x.needles) {
      const auto row = std::distance(depths.begin(), depths.find(cell.depth));
      const auto column = std::distance(contexts.begin(), contexts.find(cell.context));
      panel.values[static_cast<std::size_t>(row) * contexts.size()
                   + static_cast<std::size_t>(column)] = cell.score.accuracy();
    }
    out.panels.push_back(std::move(panel));
  }
  return out;
}

/// The rows of most different kinds that miss something: the first of each group, then the next.
std::vector<const eval_outcome*> curves_of(std::span<const eval_outcome> all) {
  std::vector<const eval_outcome*> rest;
  for (const auto& x : all)
    if (!x.coverage_by_layer.empty() && x.row.coverage && *x.row.coverage < 0.9995)
      rest.push_back(&x);
  std::vector<const eval_outcome*> out;
  while (!rest.empty() && out.size() < most_curves) {
    std::set<std::string> seen;
    std::erase_if(rest, [&](const eval_outcome* x) {
      const bool take = out.size() < most_curves && seen.insert(x->group).second;
      if (take)
        out.push_back(x);
      return take;
    });
  }
  return out;
}

std::optional<plot::chart> coverage_chart(std::span<const eval_outcome> all) {
  const auto rows = curves_of(all);
  if (rows.empty())
    return std::nullopt;
  plot::chart out{.title = "Share of the softmax mass that was read, by layer",
                  .note = "measured on the text; at most 8 rows, of different groups first",
                  .x = {"layer", plot::scale::linear, 0, 0, false},
                  .y = {"coverage", plot::scale::linear, 0, 0, true},
                  .lines = {},
                  .front = false};
  for (const auto* x : rows) {
    plot::series one{x->row.name, {}, true};
    for (std::size_t i = 0; i < x->coverage_by_layer.size(); ++i)
      one.points.push_back({static_cast<double>(i), x->coverage_by_layer[i], {}});
    out.lines.push_back(std::move(one));
  }
  return out;
}

} // namespace

std::vector<figure> figures_of(std::span<const eval_outcome> all, plot::theme colours) {
  std::vector<figure> out;
  const auto add = [&](const char* name, const auto& picture) {
    if (picture)
      out.push_back({name, plot::to_svg(*picture, colours)});
  };
  add("pareto_stored", pareto(all, "stored", [](const eval_outcome& x) { return x.row.kv_share; }));
  add("pareto_read", pareto(all, "read", [](const eval_outcome& x) { return x.read_bytes_share; }));
  add("needle", needle_map(all));
  add("coverage_by_layer", coverage_chart(all));
  return out;
}

result<void> write_figures(std::span<const figure> x, const std::string& folder) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed)
    return {errc::io_failed,
            fmt::format("cannot make the folder {}: {}", folder, failed.message())};
  for (const auto& f : x)
    if (auto written =
            write_file((std::filesystem::path{folder} / (f.name + ".svg")).string(), f.svg);
        !written)
      return written;
  return {};
}

} // namespace pikv::tools
