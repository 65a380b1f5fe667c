// SPDX-License-Identifier: Apache-2.0
#include "demo/load_plan.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace pikv::tools {

namespace {

const std::vector<std::string> usual_rows{"int8", "gate_k4", "mass_per_head_1_4", "h2o_1_4",
                                          "int4_mass_1_4"};

} // namespace

std::uint32_t load_tokens(const demo_base& base) noexcept {
  return std::min(base.context, std::uint32_t{1024});
}

result<std::vector<demo_row>> pick_load_rows(std::span<const std::string> names) {
  auto rows = pick_rows(names.empty() ? std::span<const std::string>{usual_rows} : names);
  if (!rows)
    return rows;
  const auto plain = std::ranges::find_if(*rows, &demo_row::plain);
  if (plain != rows->end())
    return {errc::invalid_argument,
            fmt::format("row \"{}\" runs without PiKV and has no metrics; leave it out of --only",
                        plain->name)};
  return rows;
}

config::settings load_settings(const demo_row& row, const demo_base& base) {
  auto small = base;
  small.context = load_tokens(base);
  auto x = settings_of(row, small);
  x.devices.count = 2;
  x.devices.threads = 1;
  x.devices.memory_bytes = std::uint64_t{16} << 20;
  x.devices.scratch_bytes = std::uint64_t{32} << 20;
  x.placement = {"eplb", {}};
  x.placement.options.set("tolerated", 1.05);
  x.budget.options.set("tokens", std::int64_t{small.context} * 3 / 4);
  row.edit(x, small); // what the row is about wins
  x.ghosts.policies = "h2o, lfu, streaming";
  x.fidelity.audit_share = 0.05;
  if (x.selection.name == "mass")
    x.fidelity.coverage_target = 0.98;
  return x;
}

config::settings with_live_keys(config::settings now, const config::settings& row) {
  now.placement = row.placement;
  now.routing = row.routing;
  now.selection = row.selection;
  now.compression = row.compression;
  now.budget = row.budget;
  now.scheduling = row.scheduling;
  now.ghosts = row.ghosts;
  now.limits = row.limits;
  now.fidelity = row.fidelity;
  return now;
}

} // namespace pikv::tools
