// SPDX-License-Identifier: Apache-2.0
#include "study.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "text_table.hpp"

namespace pikv::tools {

namespace {

double operations_per_second(const replay_result& x) {
  return x.seconds > 0 ? static_cast<double>(x.uses) / x.seconds : 0;
}

std::string percent(double x) { return fmt::format("{:.2f}", 100 * x); }

/// "0", "1", "2 to 3", "4 to 7", ...
std::string bin_text(std::size_t bin) {
  if (bin < 2)
    return std::to_string(bin);
  return fmt::format("{} to {}", grouped(std::uint64_t{1} << (bin - 1)),
                     grouped((std::uint64_t{1} << bin) - 1));
}

std::string reuse_text(const study& x) {
  text_table table{{{"reuse distance", align::right}, {"uses", align::right}, {"%", align::right}}};
  const auto add = [&](std::string name, std::uint64_t n) {
    table.add({std::move(name), grouped(n),
               percent(static_cast<double>(n) / static_cast<double>(x.uses))});
  };
  for (std::size_t i = 0; i < x.reuse.bins.size(); ++i)
    add(bin_text(i), x.reuse.bins[i]);
  add("first use", x.reuse.first_uses);
  return table.print();
}

} // namespace

std::string study_text(const study& x) {
  auto text = fmt::format("{}: {} requests use {} blocks, {} distinct; {}\n"
                          "an infinite cache hits {}%\n\n",
                          x.name, grouped(x.requests), grouped(x.uses), grouped(x.blocks),
                          x.prefix ? "a block hits if all before it in the request do"
                                   : "each block hits by itself",
                          percent(x.infinite.hit_share()));
  text_table table{{{"policy"},
                    {"capacity", align::right},
                    {"hits %", align::right},
                    {"gap closed %", align::right},
                    {"evicted", align::right},
                    {"then wanted", align::right},
                    {"M ops/s", align::right}}};
  for (const auto& row : x.rows)
    table.add({row.policy, grouped(row.capacity), percent(row.result.hit_share()),
               row.gap_closed ? fmt::format("{:.1f}", 100 * *row.gap_closed) : "-",
               grouped(row.result.evicted), grouped(row.result.evicted_then_wanted),
               fmt::format("{:.1f}", operations_per_second(row.result) / 1e6)});
  text += table.print();
  text += "gap closed: of the way from lru (0) to belady (100)\n";
  for (const auto& s : x.skipped)
    text += fmt::format("not replayed: {}: {}\n", s.policy, s.why);
  return text + "\n" + reuse_text(x);
}

std::string study_csv(const study& x) {
  std::string text = "policy,capacity,uses,hits,kept,evicted,evicted_then_wanted,hit_share,"
                     "gap_closed,seconds\n";
  const auto add = [&](const std::string& policy, const std::string& capacity,
                       const replay_result& r, const std::string& gap) {
    text += fmt::format("{},{},{},{},{},{},{},{:.6f},{},{:.6f}\n", policy, capacity, r.uses, r.hits,
                        r.kept, r.evicted, r.evicted_then_wanted, r.hit_share(), gap, r.seconds);
  };
  add("infinite", "", x.infinite, "");
  for (const auto& row : x.rows)
    add(row.policy, std::to_string(row.capacity), row.result,
        row.gap_closed ? fmt::format("{:.6f}", *row.gap_closed) : "");
  return text;
}

std::string study_json(const study& x) {
  using json = nlohmann::json;
  const auto counts = [](const replay_result& r) {
    return json{{"uses", r.uses},
                {"hits", r.hits},
                {"kept", r.kept},
                {"evicted", r.evicted},
                {"seconds", r.seconds},
                {"evicted_then_wanted", r.evicted_then_wanted},
                {"hit_share", r.hit_share()}};
  };
  json out{{"trace", x.name},       {"requests", x.requests},  {"uses", x.uses},
           {"blocks", x.blocks},    {"prefix", x.prefix},      {"infinite", counts(x.infinite)},
           {"rows", json::array()}, {"skipped", json::array()}};
  for (const auto& row : x.rows) {
    auto r = counts(row.result);
    r["policy"] = row.policy;
    r["capacity"] = row.capacity;
    r["gap_closed"] = row.gap_closed ? json(*row.gap_closed) : json(nullptr);
    out["rows"].push_back(std::move(r));
  }
  for (const auto& s : x.skipped)
    out["skipped"].push_back({{"policy", s.policy}, {"why", s.why}});
  out["reuse"] = {{"first_uses", x.reuse.first_uses}, {"log2_bins", x.reuse.bins}};
  return out.dump(2);
}

} // namespace pikv::tools
