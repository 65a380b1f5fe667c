// SPDX-License-Identifier: Apache-2.0
// Layer mass: layers whose queries look further back keep more. Each layer has `least` of the mean
// for sure; the rest is dealt out in proportion to the attention that its settled pages get, as
// measured (layer_masses.hpp). What a layer cannot use, because it has not seen as much, goes to
// the others. The idea, room by what a layer's attention asks for, is that of D2O (Wan et al.,
// 2024, arXiv:2406.13035) and CAKE (Qin et al., 2025, arXiv:2503.12491), which derive it from the
// prompt's attention; here it follows the queries.
#include <algorithm>
#include <cmath>

#include <pikv/policies/budget/mean_limit.hpp>

namespace pikv::policies {

namespace {

class layer_mass final : public budget_policy {
public:
  layer_mass(const option_set& x, std::uint32_t layers)
      : limit_(x), least_(x.real("least")), layers_(std::max(layers, 1U)) {}

  bool limits() const noexcept override { return limit_.limits(); }
  bool needs_mass() const noexcept override { return true; }

  std::uint64_t entries(std::uint32_t layer, std::uint64_t seen,
                        std::span<const double> masses) const noexcept override {
    const auto mean = limit_.entries(seen);
    if (mean >= seen || layer >= masses.size() || masses.size() != layers_)
      return mean;
    const auto t = static_cast<double>(mean);
    const auto most = static_cast<double>(seen);
    return static_cast<std::uint64_t>(std::floor(
        least_ * t + deal((1 - least_) * t * layers_, most - least_ * t, layer, masses) + 1e-6));
  }

private:
  /// The layer's part of `total`, none above `most`.
  double deal(double total, double most, std::uint32_t layer,
              std::span<const double> masses) const noexcept {
    // Parts grow with the masses: at the level at which the parts, cut at `most`, add up to the
    // total. Each round finds that more layers are cut; at most all are.
    double sum = 0;
    for (const double x : masses)
      sum += x;
    if (!(sum > 0))
      return total / layers_;
    double level = total / sum;
    for (std::uint32_t round = 0; round < layers_; ++round) {
      double cut = 0, rest = 0;
      for (const double x : masses)
        (x * level >= most ? cut : rest) += x * level >= most ? most : x;
      if (rest <= 0)
        return std::min(total / layers_, most);
      const double next = (total - cut) / rest;
      if (next <= level * (1 + 1e-12))
        break;
      level = next;
    }
    return std::min(masses[layer] * level, most);
  }

  mean_limit limit_;
  double least_;
  std::uint32_t layers_;
};

std::vector<option_spec> options() {
  auto x = mean_limit::options("a layer may keep in the mean");
  x.push_back({.name = "least",
               .type = option_type::real,
               .fallback = 0.5,
               .help = "share of the mean that every layer keeps; 1 is uniform",
               .min = 0,
               .max = 1,
               .choices = {}});
  return x;
}

} // namespace

table_entry<budget_policy> layer_mass_budget() {
  return {{"layer_mass", "layers keep by the attention that their old pages get", options()},
          [](const option_set& x, const policy_context& c) -> std::unique_ptr<budget_policy> {
            return std::make_unique<layer_mass>(x, c.layers);
          }};
}

} // namespace pikv::policies
