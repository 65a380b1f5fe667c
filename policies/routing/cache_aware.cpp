// SPDX-License-Identifier: Apache-2.0
// Cache-aware: the k shards with the largest
//   log mass_s - lambda * log(1 + miss_s),
// the score of the PiKV paper's router (arXiv 2508.06526) with the estimated softmax mass as the
// affinity. miss_s counts the pages that routes wanted of the shard lately and that were gone, so a
// shard that budgets have emptied gives way to one that still has its pages. Without known misses
// it is `mass`.
#include <pikv/policies/routing/ranked_shards.hpp>
#include <pikv/policies/routing/routing_policy.hpp>
#include <pikv/policies/routing/width_option.hpp>

namespace pikv::policies {

namespace {

class cache_aware final : public routing_policy {
public:
  cache_aware(std::int64_t k, double lambda) noexcept
      : k_(static_cast<std::size_t>(k)), lambda_(static_cast<float>(lambda)) {}
  bool needs_gate() const noexcept override { return false; }
  bool needs_mass() const noexcept override { return true; }
  bool needs_misses() const noexcept override { return true; }
  void route(const route_query& query, std::span<std::uint8_t> in_route) const noexcept override {
    if (route_all_unless_known(query.shard_mass, in_route))
      return;
    const auto& misses = query.shard_misses;
    route_best(
        query.shard_pages, k_,
        [&](std::size_t s) {
          const auto miss = misses.empty() ? 0.0F : std::log1p(misses[s]);
          return std::log(query.shard_mass[s]) - lambda_ * miss;
        },
        in_route);
  }

private:
  std::size_t k_;
  float lambda_;
};

std::vector<option_spec> options() {
  return {width_option(),
          {.name = "lambda",
           .type = option_type::real,
           .fallback = 0.25,
           .help = "weight of log(1 + misses) against the log of the estimated mass",
           .min = 0,
           .max = 100,
           .choices = {}}};
}

} // namespace

table_entry<routing_policy> cache_aware_routing() {
  return {{"cache_aware",
           "the k shards with the largest log mass - lambda log(1 + misses) (PiKV paper)",
           options()},
          [](const option_set& x, const policy_context&) -> std::unique_ptr<routing_policy> {
            return std::make_unique<cache_aware>(x.integer("k"), x.real("lambda"));
          }};
}

} // namespace pikv::policies
