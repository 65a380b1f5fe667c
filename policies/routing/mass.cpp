// SPDX-License-Identifier: Apache-2.0
// Mass: the query reads the k shards with the largest estimated share of its old softmax mass,
// which is the sum of the page estimates of selection `mass` (gpu/kernels.hpp). Shards without
// pages are passed over; of equal shards the lower comes first. Without an estimate every shard is
// read.
#include <algorithm>

#include <pikv/policies/routing/best_of.hpp>
#include <pikv/policies/routing/routing_policy.hpp>
#include <pikv/policies/routing/width_option.hpp>

namespace pikv::policies {

namespace {

class mass final : public routing_policy {
public:
  explicit mass(std::int64_t k) noexcept : k_(static_cast<std::size_t>(k)) {}
  bool needs_gate() const noexcept override { return false; }
  bool needs_mass() const noexcept override { return true; }
  void route(const route_query& query, std::span<std::uint8_t> in_route) const noexcept override {
    const bool known = query.shard_mass.size() == in_route.size();
    std::ranges::fill(in_route, known ? std::uint8_t{0} : std::uint8_t{1});
    if (!known)
      return;
    const auto& share = query.shard_mass;
    std::size_t routed = 0;
    for (auto s = next_largest(share, share.size()); s < share.size() && routed < k_;
         s = next_largest(share, s))
      if (has_pages(query.shard_pages, s)) {
        in_route[s] = 1;
        ++routed;
      }
  }
  std::optional<route_rule> rule() const noexcept override {
    return route_rule{route_kind::mass, static_cast<std::uint32_t>(k_)};
  }

private:
  std::size_t k_;
};

std::vector<option_spec> options() { return {width_option()}; }

} // namespace

table_entry<routing_policy> mass_routing() {
  return {{"mass", "the k shards with the largest estimated attention mass", options()},
          [](const option_set& x, const policy_context&) -> std::unique_ptr<routing_policy> {
            return std::make_unique<mass>(x.integer("k"));
          }};
}

} // namespace pikv::policies
