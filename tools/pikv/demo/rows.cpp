// SPDX-License-Identifier: Apache-2.0
#include "demo/rows.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <pikv/policies/table.hpp>

namespace pikv::tools {

namespace {

using edit = std::function<void(config::settings&, const demo_base&)>;

edit nothing() {
  return [](config::settings&, const demo_base&) {};
}

edit packed(const char* form) {
  return [form](config::settings& x, const demo_base&) { x.compression = {form, {}}; };
}

/// Pages live in the shard of their tokens' expert; a query reads the shards of its k best experts.
edit by_gate(std::int64_t k) {
  return [k](config::settings& x, const demo_base&) {
    x.placement = {"gate", {}};
    x.routing.name = "gate_top_k";
    x.routing.options.set("k", k);
  };
}

edit selected(const char* score, const char* heads, double share) {
  return [=](config::settings& x, const demo_base&) {
    x.selection.name = score;
    x.selection.options.set("heads", std::string{heads});
    x.selection.options.set("share", share);
  };
}

/// Keeps a quarter of the context's entries; `scheduler` says which pages give way.
edit kept_quarter(const char* scheduler) {
  return [scheduler](config::settings& x, const demo_base& base) {
    x.budget.name = "uniform";
    x.budget.options.set("tokens", std::int64_t{base.context / 4});
    x.scheduling = {scheduler, {}};
  };
}

edit packed_and_selected() {
  return [](config::settings& x, const demo_base& base) {
    packed("int4")(x, base);
    selected("mass", "per_kv_head", 0.25)(x, base);
  };
}

const std::array rows{
    demo_row{"dense", "plain arrays, everything read: what all rows are compared with", true,
             nothing()},
    demo_row{"exact", "PiKV, raw pages, everything read", false, nothing()},
    demo_row{"int8", "settled pages in 8 bits, everything read", false, packed("int8")},
    demo_row{"int4", "settled pages in 4 bits, everything read", false, packed("int4")},
    demo_row{"gate_k4", "pages live with their expert, a query reads its 4 best experts", false,
             by_gate(4)},
    demo_row{"gate_k8", "pages live with their expert, a query reads its 8 best experts", false,
             by_gate(8)},
    demo_row{"mass_shared_1_8", "1/8 of old pages by estimated mass, the same for all heads", false,
             selected("mass", "shared", 0.125)},
    demo_row{"mass_shared_1_4", "1/4 of old pages by estimated mass, the same for all heads", false,
             selected("mass", "shared", 0.25)},
    demo_row{"mass_per_head_1_8", "1/8 of old pages by estimated mass, each KV head its own", false,
             selected("mass", "per_kv_head", 0.125)},
    demo_row{"mass_per_head_1_4", "1/4 of old pages by estimated mass, each KV head its own", false,
             selected("mass", "per_kv_head", 0.25)},
    demo_row{"quest_shared_1_8", "1/8 of old pages by Quest's bound, the same for all heads", false,
             selected("quest", "shared", 0.125)},
    demo_row{"quest_shared_1_4", "1/4 of old pages by Quest's bound, the same for all heads", false,
             selected("quest", "shared", 0.25)},
    demo_row{"quest_per_head_1_8", "1/8 of old pages by Quest's bound, each KV head its own", false,
             selected("quest", "per_kv_head", 0.125)},
    demo_row{"quest_per_head_1_4", "1/4 of old pages by Quest's bound, each KV head its own", false,
             selected("quest", "per_kv_head", 0.25)},
    demo_row{"h2o_1_4", "a quarter of the entries is kept, least attended pages are dropped", false,
             kept_quarter("h2o")},
    demo_row{"streaming_1_4", "a quarter of the entries is kept, oldest pages are dropped", false,
             kept_quarter("streaming")},
    demo_row{"int4_mass_1_4", "4 bits, and 1/4 of old pages by mass, each KV head its own", false,
             packed_and_selected()},
};

} // namespace

std::span<const demo_row> demo_rows() { return rows; }

result<std::vector<demo_row>> pick_rows(std::span<const std::string> names) {
  if (names.empty())
    return std::vector<demo_row>{rows.begin(), rows.end()};
  std::vector<std::string> known;
  for (const auto& row : rows)
    known.emplace_back(row.name);
  for (const auto& name : names)
    if (std::ranges::find(known, name) == known.end())
      return {errc::invalid_argument,
              fmt::format("there is no row \"{}\"; did you mean \"{}\"? (pikv demo --list)", name,
                          policies::nearest_name(name, known))};
  std::vector<demo_row> out;
  for (const auto& row : rows)
    if (std::ranges::find(names, row.name) != names.end())
      out.push_back(row);
  return out;
}

config::settings settings_of(const demo_row& row, const demo_base& base) {
  constexpr std::uint64_t least_memory = std::uint64_t{256} << 20;
  config::settings x;
  x.devices.backend = base.backend;
  x.devices.threads = base.threads;
  const auto raw = plain_bytes_per_token(base) * base.context * base.batch;
  x.devices.memory_bytes = least_memory + 2 * static_cast<std::uint64_t>(raw);
  x.cache.stored = base.stored;
  x.cache.sinks = base.sinks;
  // Chunks take milliseconds: threads that spin between them would only take the engine's cores.
  x.runtime.latency = config::latency_profile::idle;
  row.edit(x, base);
  return x;
}

double plain_bytes_per_token(const demo_base& base) noexcept {
  const auto& s = base.shape;
  return 2.0 * s.layers * s.kv_heads * s.head_dim * static_cast<double>(size_of(base.stored));
}

} // namespace pikv::tools
