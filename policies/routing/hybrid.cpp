// SPDX-License-Identifier: Apache-2.0
// Hybrid: the k shards with the largest
//   mass_s + bonus * p_s,
// mass_s the estimated share of the row's old softmax mass (routing `mass`) and p_s the share of
// the gate's softmax on the experts that live in shard s (placement `gate`: expert mod shards). It
// joins the two signals of the PiKV paper's router (arXiv 2508.06526) and of attention itself; with
// bonus 0, or where no gate is known, it is `mass`. For placements without labels the bonus means
// nothing.
#include <pikv/policies/routing/ranked_shards.hpp>
#include <pikv/policies/routing/routing_policy.hpp>
#include <pikv/policies/routing/width_option.hpp>

namespace pikv::policies {

namespace {

/// p_s for all shards; 0 without a gate. NaN logits get no share.
void gate_shares(std::span<const float> logits, std::size_t shards, shard_values& out) noexcept {
  std::fill_n(out.x.begin(), shards, 0.0F);
  float top = -std::numeric_limits<float>::infinity();
  for (const auto x : logits)
    top = std::max(top, std::isnan(x) ? top : x);
  float sum = 0;
  for (std::size_t e = 0; e < logits.size(); ++e) {
    if (!(logits[e] <= top))
      continue;
    const auto share = logits[e] == top ? 1.0F : std::exp(logits[e] - top);
    out.x[e % shards] += share;
    sum += share;
  }
  for (std::size_t s = 0; sum > 0 && s < shards; ++s)
    out.x[s] /= sum;
}

class hybrid final : public routing_policy {
public:
  hybrid(std::int64_t k, double bonus) noexcept
      : k_(static_cast<std::size_t>(k)), bonus_(static_cast<float>(bonus)) {}
  bool needs_gate() const noexcept override { return true; }
  bool needs_mass() const noexcept override { return true; }
  void route(const route_query& query, std::span<std::uint8_t> in_route) const noexcept override {
    if (route_all_unless_known(query.shard_mass, in_route))
      return;
    shard_values gate;
    gate_shares(query.gate_logits, in_route.size(), gate);
    route_best(
        query.shard_pages, k_,
        [&](std::size_t s) { return query.shard_mass[s] + bonus_ * gate.x[s]; }, in_route);
  }

private:
  std::size_t k_;
  float bonus_;
};

std::vector<option_spec> options() {
  return {width_option(),
          {.name = "bonus",
           .type = option_type::real,
           .fallback = 0.25,
           .help = "what the gate's whole share on a shard's experts counts, in shares of the mass",
           .min = 0,
           .max = 100,
           .choices = {}}};
}

} // namespace

table_entry<routing_policy> hybrid_routing() {
  return {{"hybrid",
           "the k shards with the largest estimated mass plus a bonus for the gate's experts (PiKV "
           "paper's labels)",
           options()},
          [](const option_set& x, const policy_context&) -> std::unique_ptr<routing_policy> {
            return std::make_unique<hybrid>(x.integer("k"), x.real("bonus"));
          }};
}

} // namespace pikv::policies
