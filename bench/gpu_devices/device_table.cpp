// SPDX-License-Identifier: Apache-2.0
#include "device_table.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "text_table.hpp"

namespace pikv::bench {

namespace {

using tools::align;
using tools::grouped;

device_row sum_of(const std::vector<device_row>& rows) {
  device_row sum;
  for (const auto& x : rows) {
    const auto& m = x.measured;
    sum.measured.page_bytes += m.page_bytes;
    sum.measured.summary_bytes += m.summary_bytes;
    sum.measured.table_bytes += m.table_bytes;
    sum.measured.overhead_bytes += m.overhead_bytes;
    sum.measured.free_bytes += m.free_bytes;
    sum.planned.settled_values += x.planned_held(); // of a sum only the total is read
  }
  return sum;
}

double share_percent(const fill_options& o, const device_row& x) {
  return 100 * static_cast<double>(x.measured.total_bytes()) / static_cast<double>(dense_bytes(o));
}

nlohmann::ordered_json json_of(const fill_options& o, const device_row& x) {
  const auto& m = x.measured;
  const auto& p = x.planned;
  return {{"device", m.device.value},
          {"sequences", m.sequences},
          {"pages_window", m.pages_window},
          {"pages_settled", m.pages_settled},
          {"measured",
           {{"pages", m.page_bytes},
            {"summaries", m.summary_bytes},
            {"tables", m.table_bytes},
            {"table_copies", m.table_copy_bytes},
            {"rounding", m.overhead_bytes - m.free_bytes},
            {"free_slots", m.free_bytes},
            {"reserved", m.reserved_bytes},
            {"total", m.total_bytes()}}},
          {"planned",
           {{"pages", p.pages()},
            {"summaries", p.summaries},
            {"tables", p.tables + p.table_copies},
            {"table_copies", p.table_copies},
            {"rounding", p.rounding},
            {"free_slots", p.free_cells},
            {"passing", x.passing},
            {"reserved", p.memory()},
            {"total", p.total()}}},
          {"off_percent", x.off_percent()},
          {"of_dense_percent", share_percent(o, x)}};
}

} // namespace

double device_row::off_percent() const noexcept {
  const auto is = static_cast<double>(held());
  const auto plan = static_cast<double>(planned_held());
  return is == plan ? 0 : 100 * (is - plan) / std::max(plan, 1.0);
}

std::vector<device_row> rows_of(const fill_options& o, const cache_usage& usage) {
  const auto request = plan_of(o);
  std::vector<device_row> rows;
  for (const auto& d : usage.devices)
    rows.push_back({d, tools::account_of(request, d.device.value),
                    tools::passing_bytes(request, d.device.value)});
  return rows;
}

std::uint64_t dense_bytes(const fill_options& o) {
  const auto x = plan_of(o);
  return x.model.values_per_layer() * x.model.layers * 2 * x.context * x.sequences;
}

double imbalance(const std::vector<device_row>& rows) {
  double most = 0, sum = 0;
  for (const auto& x : rows) {
    const auto bytes = static_cast<double>(x.measured.total_bytes());
    most = std::max(most, bytes);
    sum += bytes;
  }
  return sum > 0 ? most * static_cast<double>(rows.size()) / sum : 0;
}

std::string table_text(const fill_options& o, const std::vector<device_row>& rows) {
  const bool plans = o.placement == "stripe";
  tools::text_table table{{{"device"},
                           {"pages", align::right},
                           {"summaries", align::right},
                           {"tables", align::right},
                           {"rounding", align::right},
                           {"held", align::right},
                           {"pikv plan", align::right},
                           {"off, %", align::right},
                           {"free slots", align::right},
                           {"total", align::right},
                           {"of dense, %", align::right}}};
  const auto add = [&](std::string name, const device_row& x) {
    const auto& m = x.measured;
    table.add({std::move(name), grouped(m.page_bytes), grouped(m.summary_bytes),
               grouped(m.table_bytes), grouped(m.overhead_bytes - m.free_bytes),
               grouped(x.held()), plans ? grouped(x.planned_held()) : "-",
               plans ? fmt::format("{:+.2f}", x.off_percent()) : "-", grouped(m.free_bytes),
               grouped(m.total_bytes()),
               fmt::format("{:.3f}", share_percent(o, x))});
  };
  for (const auto& x : rows)
    add(std::to_string(x.measured.device.value), x);
  add("all", sum_of(rows));
  return table.print("  ");
}

std::string table_json(const fill_options& o, const filled_cache& x,
                       const std::vector<device_row>& rows) {
  auto devices = nlohmann::ordered_json::array();
  for (const auto& row : rows)
    devices.push_back(json_of(o, row));
  const nlohmann::ordered_json out{{"backend", o.backend},
                                   {"placement", o.placement},
                                   {"selection", o.selection},
                                   {"form", o.stored},
                                   {"layers", o.layers},
                                   {"context_tokens", o.context},
                                   {"sequences", o.batch},
                                   {"append_tokens", o.chunk},
                                   {"dense_16bit_bytes", dense_bytes(o)},
                                   {"device_memory_bytes", x.memory_bytes},
                                   {"fill_seconds", x.fill_seconds},
                                   {"imbalance", imbalance(rows)},
                                   {"devices", devices}};
  return out.dump(2) + '\n';
}

} // namespace pikv::bench
