// SPDX-License-Identifier: Apache-2.0
// Balanced: the k shards with the largest
//   mass_s - alpha * (mu_s - mean mu),
// the load-balanced router of the PiKV paper (arXiv 2508.06526): mu_s is the share of what the lane
// has read lately that came from shard s, the mean is over the shards that the row could read.
// A hot shard is read a little less and its mass is missed, so alpha trades coverage for an even
// load; the model's own FFN gate is never touched. Without a known load it is `mass`.
#include <pikv/policies/routing/ranked_shards.hpp>
#include <pikv/policies/routing/routing_policy.hpp>
#include <pikv/policies/routing/width_option.hpp>

namespace pikv::policies {

namespace {

class balanced final : public routing_policy {
public:
  balanced(std::int64_t k, double alpha) noexcept
      : k_(static_cast<std::size_t>(k)), alpha_(static_cast<float>(alpha)) {}
  bool needs_gate() const noexcept override { return false; }
  bool needs_mass() const noexcept override { return true; }
  bool needs_load() const noexcept override { return true; }
  void route(const route_query& query, std::span<std::uint8_t> in_route) const noexcept override {
    if (route_all_unless_known(query.shard_mass, in_route))
      return;
    const auto& load = query.shard_load;
    float total = 0;
    std::size_t shards = 0;
    for (std::size_t s = 0; s < in_route.size(); ++s)
      if (has_pages(query.shard_pages, s)) {
        ++shards;
        total += load.empty() ? 0 : load[s];
      }
    const auto mean = shards > 0 ? 1.0F / static_cast<float>(shards) : 0.0F;
    route_best(
        query.shard_pages, k_,
        [&](std::size_t s) {
          const auto over = total > 0 ? load[s] / total - mean : 0.0F;
          return query.shard_mass[s] - alpha_ * over;
        },
        in_route);
  }

private:
  std::size_t k_;
  float alpha_;
};

std::vector<option_spec> options() {
  return {width_option(),
          {.name = "alpha",
           .type = option_type::real,
           .fallback = 0.1,
           .help = "share of the mass that being read by all queries instead of its part costs a "
                   "shard",
           .min = 0,
           .max = 100,
           .choices = {}}};
}

} // namespace

table_entry<routing_policy> balanced_routing() {
  return {{"balanced",
           "the k shards with the largest estimated mass, less alpha times the load above the mean "
           "(PiKV paper)",
           options()},
          [](const option_set& x, const policy_context&) -> std::unique_ptr<routing_policy> {
            return std::make_unique<balanced>(x.integer("k"), x.real("alpha"));
          }};
}

} // namespace pikv::policies
