// SPDX-License-Identifier: Apache-2.0
#include "eval/rows.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "eval/few_bits_rows.hpp"
#include "eval/row_edits.hpp"

namespace pikv::tools {

namespace {

// What is tried, beside the shares that are kept.
constexpr std::array read_shares{0.25, 0.125, 0.0625, 0.03125};
constexpr std::array<std::int64_t, 3> route_widths{2, 4, 8};
/// Of selections that take a target; least: share of the old pages that they read in any case.
struct coverage_target {
  double coverage, least;
};
constexpr coverage_target coverages[] = {
    {0.9, 0.015625}, {0.9, 0.03125},   {0.95, 0.015625}, {0.95, 0.03125},  {0.97, 0.015625},
    {0.98, 0},       {0.98, 0.015625}, {0.98, 0.03125},  {0.99, 0.015625}, {0.99, 0.03125}};
constexpr auto evicting_with = "h2o"; ///< rows about forms and budgets drop pages by this policy

const policy_kind_info& kind_of(const policy_catalog& catalog, std::string_view kind) {
  static const policy_kind_info none;
  const auto found = std::ranges::find(catalog, kind, &policy_kind_info::kind);
  return found == catalog.end() ? none : *found;
}

bool has_option(const policy_info& x, std::string_view name) {
  return std::ranges::find(x.options, name, &option_spec::name) != x.options.end();
}

void add_compression(std::vector<eval_row>& to, const policy_catalog& catalog,
                     std::span<const double> shares) {
  for (const auto& p : kind_of(catalog, "compression").policies) {
    if (p.name == "identity")
      continue;
    to.push_back({p.name, "compression", p.help, false, {}, packed(p.name)});
    // On top of a form: what a budget that is not met by the form alone would drop.
    for (const double share : shares.first(std::min<std::size_t>(2, shares.size())))
      to.push_back(
          {fmt::format("{}+keep_{}", p.name, share_name(share)),
           "compression",
           fmt::format("{}, and {} of the entries kept by {}", p.name, share, evicting_with),
           false,
           {},
           both(packed(p.name), kept("uniform", evicting_with, share))});
  }
}

void add_eviction(std::vector<eval_row>& to, const policy_catalog& catalog,
                  std::span<const double> shares) {
  for (const auto& p : kind_of(catalog, "scheduling").policies) {
    if (!p.offline.empty()) // `pikv replay` measures those
      continue;
    for (const double share : shares)
      to.push_back({fmt::format("{}_{}", p.name, share_name(share)),
                    "scheduling",
                    fmt::format("{} of the entries kept: {}", share, p.help),
                    false,
                    {},
                    kept("uniform", p.name, share)});
  }
  for (const auto& p : kind_of(catalog, "budget").policies)
    for (const double share : shares)
      if (p.name != "uniform" && has_option(p, "share"))
        to.push_back({fmt::format("{}_{}", p.name, share_name(share)),
                      "budget",
                      fmt::format("{} of the entries kept: {}", share, p.help),
                      false,
                      {},
                      kept(p.name, evicting_with, share)});
}

void add_coverage(std::vector<eval_row>& to, const policy_info& p) {
  for (const auto [coverage, least] : coverages) {
    if (least > 0 && !has_option(p, "least"))
      continue;
    const auto set = [coverage, least](config::settings& x) {
      x.selection.options.set("coverage", coverage);
      if (least > 0)
        x.selection.options.set("least", least);
    };
    to.push_back({fmt::format("{}_cover_{}{}", p.name, coverage,
                              least > 0 ? "_least_" + share_name(least) : ""),
                  "selection",
                  fmt::format("old pages up to {} of the estimated mass, at least {} of them: {}",
                              coverage, least, p.help),
                  false,
                  {},
                  both(selected(p.name, nullptr, 0), set)});
  }
}

void add_selection(std::vector<eval_row>& to, const policy_catalog& catalog) {
  for (const auto& p : kind_of(catalog, "selection").policies) {
    if (p.name == "all")
      continue;
    const bool scopes = has_option(p, "heads");
    if (!has_option(p, "share")) {
      to.push_back({p.name, "selection", p.help, false, {}, selected(p.name, nullptr, 0)});
      continue;
    }
    if (has_option(p, "coverage"))
      add_coverage(to, p);
    for (const double share : read_shares)
      to.push_back({fmt::format("{}{}_{}", p.name, scopes ? "_per_head" : "", share_name(share)),
                    "selection",
                    fmt::format("{} of the old pages read: {}", share, p.help),
                    false,
                    {},
                    selected(p.name, scopes ? "per_kv_head" : nullptr, share)});
    if (scopes)
      for (const double share : std::span{read_shares}.first(3))
        to.push_back(
            {fmt::format("{}_shared_{}", p.name, share_name(share)),
             "selection",
             fmt::format("{} of the old pages read, the same by all heads: {}", share, p.help),
             false,
             {},
             selected(p.name, "shared", share)});
  }
}

void add_routing(std::vector<eval_row>& to, const policy_catalog& catalog) {
  for (const auto& p : kind_of(catalog, "routing").policies) {
    if (p.name == "all")
      continue;
    if (!has_option(p, "k"))
      to.push_back({p.name,
                    "routing",
                    p.help + "; pages live with their expert",
                    false,
                    {},
                    routed(p.name, "gate", 0)});
    else
      for (const auto k : route_widths)
        to.push_back({fmt::format("{}_{}", p.name, k),
                      "routing",
                      fmt::format("{} (k = {}); pages live with their expert", p.help, k),
                      false,
                      {},
                      routed(p.name, "gate", k)});
  }
  // The same with every entry on its own shard instead of whole pages.
  for (const auto& [name, placement, help] :
       {std::tuple{"gate_top_k", "gate", "entries live with their expert, one by one"},
        std::tuple{"random_labels", "hash", "gate_top_k over entries placed by hash, one by one"}})
    for (const auto k : route_widths)
      to.push_back({fmt::format("{}_{}_entries", name, k),
                    "routing",
                    fmt::format("k = {}; {}", k, help),
                    false,
                    {},
                    both(routed("gate_top_k", placement, k), entry_by_entry())});
  // Labels that know nothing of the tokens: what a route by gate is worth beyond its width.
  for (const auto k : route_widths)
    to.push_back({fmt::format("random_labels_{}", k),
                  "routing",
                  fmt::format("gate_top_k (k = {}) over pages placed by hash", k),
                  false,
                  {},
                  routed("gate_top_k", "hash", k)});
  for (const auto& p : kind_of(catalog, "placement").policies)
    to.push_back({fmt::format("placed_{}_mass_4", p.name),
                  "placement",
                  fmt::format("the 4 shards of most estimated mass of 16; {}", p.help),
                  false,
                  {},
                  routed("mass", p.name, 4)});
}

void add_studies(std::vector<eval_row>& to) {
  const auto add = [&](const char* name, const char* help, study_rule rule) {
    for (const double share : read_shares) {
      rule.share = share;
      to.push_back({fmt::format("{}_{}", name, share_name(share)),
                    "study",
                    fmt::format("{} of the old pages read, each KV head its own: {}", share, help),
                    false,
                    rule,
                    {}});
    }
  };
  add("oracle_pages", "those of most true mass (not PiKV)", {.score = study_score::oracle});
  add("random_pages", "any (not PiKV)", {.score = study_score::random});
  // Where the number of pages follows from the row, a floor keeps what the estimate overlooks.
  for (const auto& [share, least] :
       {std::pair{1.0 / 64, 0.002}, {1.0 / 32, 0.001}, {1.0 / 16, 0.0005}})
    to.push_back(
        {fmt::format("total_mass_{}_floor_{}", least, share_name(share)),
         "study",
         fmt::format("pages of 8 with {} of a row's whole estimated mass or more, and {} of "
                     "the old pages at least (not PiKV)",
                     least, share),
         false,
         study_rule{.score = study_score::mass,
                    .share = share,
                    .of_total = true,
                    .least_share = least,
                    .page_tokens = 8},
         {}});
}

/// Policies of two kinds may have one name: all but the first get their group before it.
void tell_apart(std::vector<eval_row>& rows) {
  std::set<std::string> seen;
  for (auto& row : rows)
    if (!seen.insert(row.name).second) {
      row.name = fmt::format("{}/{}", row.group, row.name);
      seen.insert(row.name);
    }
}

} // namespace

std::string share_name(double share) {
  const double parts = share > 0 ? 1 / share : 0;
  if (parts >= 1 && std::abs(parts - std::round(parts)) < 1e-9)
    return fmt::format("1_{:.0f}", parts);
  return fmt::format("{}", share);
}

std::vector<eval_row> eval_rows(const policy_catalog& catalog,
                                std::span<const double> keep_shares) {
  std::vector<eval_row> out;
  out.push_back({"dense",
                 "baseline",
                 "plain arrays, everything read: what all rows are compared "
                 "with",
                 true,
                 {},
                 {}});
  out.push_back({"exact", "baseline", "PiKV, raw pages, everything read", false, {}, {}});
  add_compression(out, catalog, keep_shares);
  std::ranges::move(few_bits_rows(evicting_with), std::back_inserter(out));
  add_eviction(out, catalog, keep_shares);
  add_selection(out, catalog);
  add_routing(out, catalog);
  for (const double share : {0.25, 0.125})
    out.push_back({fmt::format("int4+mass_per_head_{}", share_name(share)),
                   "combined",
                   fmt::format("4 bits, and {} of the old pages by estimated mass", share),
                   false,
                   {},
                   both(packed("int4"), selected("mass", "per_kv_head", share))});
  add_studies(out);
  tell_apart(out);
  return out;
}

} // namespace pikv::tools
