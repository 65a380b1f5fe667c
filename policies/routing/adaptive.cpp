// SPDX-License-Identifier: Apache-2.0
// Adaptive: the fewest shards, largest estimated mass first, with which the row reads `coverage` of
// its softmax mass by the estimate, sinks and window included; at least `min_k` and at most `max_k`
// of the shards that have pages. (The PiKV paper's adaptive router learns k; here the estimate of
// routing `mass` says it, and the audits measure what was missed.) A row whose sinks and window
// hold enough reads min_k shards.
#include <pikv/policies/routing/ranked_shards.hpp>
#include <pikv/policies/routing/routing_policy.hpp>

namespace pikv::policies {

namespace {

class adaptive final : public routing_policy {
public:
  adaptive(const option_set& x) noexcept
      : coverage_(x.real("coverage")), min_k_(static_cast<std::size_t>(x.integer("min_k"))),
        max_k_(static_cast<std::size_t>(x.integer("max_k"))) {}
  bool needs_gate() const noexcept override { return false; }
  bool needs_mass() const noexcept override { return true; }
  bool needs_total() const noexcept override { return true; }
  void route(const route_query& query, std::span<std::uint8_t> in_route) const noexcept override {
    if (route_all_unless_known(query.shard_mass, in_route))
      return;
    std::ranges::fill(in_route, std::uint8_t{0});
    const auto target = query.coverage > 0 ? query.coverage : coverage_;
    const ranked_shards shards{in_route.size(), query.shard_pages,
                               [&](std::size_t s) { return query.shard_mass[s]; }, max_k_};
    double covered = query.always_mass;
    std::size_t routed = 0;
    for (const auto s : shards.order()) {
      if (routed >= min_k_ && covered >= target)
        break;
      in_route[s] = 1;
      ++routed;
      covered += std::isnan(query.shard_mass[s]) ? 0.0 : static_cast<double>(query.shard_mass[s]);
    }
  }

private:
  double coverage_;
  std::size_t min_k_;
  std::size_t max_k_;
};

std::vector<option_spec> options() {
  return {{.name = "coverage",
           .type = option_type::real,
           .fallback = 0.99,
           .help = "share of a row's attention mass to read by the estimate, window included",
           .min = 1e-3,
           .max = 1,
           .choices = {}},
          {.name = "min_k",
           .type = option_type::integer,
           .fallback = std::int64_t{1},
           .help = "shards that a query reads at least",
           .min = 1,
           .max = 65536,
           .choices = {}},
          {.name = "max_k",
           .type = option_type::integer,
           .fallback = std::int64_t{65536},
           .help = "shards that a query reads at most",
           .min = 1,
           .max = 65536,
           .choices = {}}};
}

} // namespace

table_entry<routing_policy> adaptive_routing() {
  return {{"adaptive",
           "the fewest shards whose estimated mass, window included, meets a coverage target",
           options()},
          [](const option_set& x, const policy_context&) -> std::unique_ptr<routing_policy> {
            return std::make_unique<adaptive>(x);
          }};
}

} // namespace pikv::policies
