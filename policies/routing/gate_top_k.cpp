// SPDX-License-Identifier: Apache-2.0
// Gate top-k, the routing of the PiKV paper (arXiv 2508.06526): the query reads the shards of the k
// experts with the largest gate logits, shard = expert mod shards, as placement `gate` stores them.
// Two experts may share a shard, so a route has at most k shards. Where none of them has pages, the
// experts that follow are tried in order of their logits, and then the shards in order of their
// index.
#include <algorithm>

#include <pikv/policies/routing/best_of.hpp>
#include <pikv/policies/routing/routing_policy.hpp>

namespace pikv::policies {

namespace {

class gate_top_k final : public routing_policy {
public:
  explicit gate_top_k(std::int64_t k) noexcept : k_(static_cast<std::size_t>(k)) {}
  bool needs_gate() const noexcept override { return true; }
  bool needs_mass() const noexcept override { return false; }
  void route(const route_query& query, std::span<std::uint8_t> in_route) const noexcept override {
    const auto& logits = query.gate_logits;
    std::ranges::fill(in_route, logits.empty() ? std::uint8_t{1} : std::uint8_t{0});
    if (logits.empty() || in_route.empty())
      return;
    bool reads = false;
    auto expert = next_largest(logits, logits.size());
    for (std::size_t i = 0; expert < logits.size() && (i < k_ || !reads); ++i) {
      const auto shard = expert % in_route.size();
      if (i < k_ || has_pages(query.shard_pages, shard))
        in_route[shard] = 1;
      reads = reads || has_pages(query.shard_pages, shard);
      expert = next_largest(logits, expert);
    }
    for (std::size_t s = 0; !reads && s < in_route.size(); ++s)
      if (has_pages(query.shard_pages, s)) {
        in_route[s] = 1;
        reads = true;
      }
  }
  std::optional<route_rule> rule() const noexcept override {
    return route_rule{route_kind::gate_top_k, static_cast<std::uint32_t>(k_)};
  }

private:
  std::size_t k_;
};

std::vector<option_spec> options() {
  return {{.name = "k",
           .type = option_type::integer,
           .fallback = std::int64_t{2},
           .help = "experts whose shards a query reads",
           .min = 1,
           .max = 65536,
           .choices = {}}};
}

} // namespace

table_entry<routing_policy> gate_top_k_routing() {
  return {{"gate_top_k", "the shards of the k experts with the largest gate logits (PiKV paper)",
           options()},
          [](const option_set& x, const policy_context&) -> std::unique_ptr<routing_policy> {
            return std::make_unique<gate_top_k>(x.integer("k"));
          }};
}

} // namespace pikv::policies
