// SPDX-License-Identifier: Apache-2.0
// Hierarchical: groups of shards first, then the k shards with the largest estimated mass inside
// them, as the node-limited routing of DeepSeek-V3 (arXiv 2412.19437) does with experts. Group g
// holds the shards s with s mod groups = g: with as many groups as devices a group is what one
// device owns, and a query's partials come from `groups_read` devices at most. A group's score is
// the sum of its ceil(k / groups_read) largest masses, as there. Groups without pages are passed
// over.
#include <pikv/policies/routing/ranked_shards.hpp>
#include <pikv/policies/routing/routing_policy.hpp>
#include <pikv/policies/routing/width_option.hpp>

namespace pikv::policies {

namespace {

class hierarchical final : public routing_policy {
public:
  hierarchical(const option_set& x) noexcept
      : k_(static_cast<std::size_t>(x.integer("k"))),
        groups_(static_cast<std::size_t>(x.integer("groups"))),
        groups_read_(static_cast<std::size_t>(x.integer("groups_read"))) {}
  bool needs_gate() const noexcept override { return false; }
  bool needs_mass() const noexcept override { return true; }
  void route(const route_query& query, std::span<std::uint8_t> in_route) const noexcept override {
    if (route_all_unless_known(query.shard_mass, in_route))
      return;
    std::ranges::fill(in_route, std::uint8_t{0});
    const auto groups = std::min(groups_, in_route.size());
    const ranked_shards shards{in_route.size(), query.shard_pages,
                               [&](std::size_t s) { return query.shard_mass[s]; }};
    shard_values score;
    std::array<std::uint32_t, most_shards> members; // shards with pages, counted up to the limit
    std::fill_n(score.x.begin(), groups, 0.0F);
    std::fill_n(members.begin(), groups, 0U);
    const auto counted = (k_ + groups_read_ - 1) / groups_read_;
    for (const auto s : shards.order())
      if (const auto g = s % groups; members[g]++ < counted)
        score.x[g] += std::isnan(query.shard_mass[s]) ? 0.0F : query.shard_mass[s];
    const ranked_shards best{
        groups, {members.data(), groups}, [&](std::size_t g) { return score.x[g]; }, groups_read_};
    std::array<bool, most_shards> read;
    std::fill_n(read.begin(), groups, false);
    for (const auto g : best.order())
      read[g] = true;
    std::size_t routed = 0;
    for (const auto s : shards.order())
      if (routed < k_ && read[s % groups]) {
        in_route[s] = 1;
        ++routed;
      }
  }

private:
  std::size_t k_;
  std::size_t groups_;
  std::size_t groups_read_;
};

std::vector<option_spec> options() {
  return {width_option(),
          {.name = "groups",
           .type = option_type::integer,
           .fallback = std::int64_t{4},
           .help = "groups of shards: s mod groups; devices.count makes each device's shards one",
           .min = 1,
           .max = 4096,
           .choices = {}},
          {.name = "groups_read",
           .type = option_type::integer,
           .fallback = std::int64_t{2},
           .help = "groups that a query reads from",
           .min = 1,
           .max = 4096,
           .choices = {}}};
}

} // namespace

table_entry<routing_policy> hierarchical_routing() {
  return {{"hierarchical",
           "groups of shards by their largest masses, then k shards in them (DeepSeek-V3's "
           "node-limited routing)",
           options()},
          [](const option_set& x, const policy_context&) -> std::unique_ptr<routing_policy> {
            return std::make_unique<hierarchical>(x);
          }};
}

} // namespace pikv::policies
