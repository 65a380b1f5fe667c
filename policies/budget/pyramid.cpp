// SPDX-License-Identifier: Apache-2.0
// PyramidKV (Cai et al., 2024, arXiv:2406.02069; the sizes as kvpress computes them): the first
// layer keeps most and the last least, on a straight line between. Over all layers as many entries
// are kept as with `uniform`. With a mean of T entries the last layer keeps T / beta and the first
// 2 T - T / beta, but never more than it has seen; then the last keeps what is left of 2 T.
#include <algorithm>
#include <cmath>

#include <pikv/policies/budget/mean_limit.hpp>

namespace pikv::policies {

namespace {

class pyramid final : public budget_policy {
public:
  pyramid(const option_set& x, std::uint32_t layers)
      : limit_(x), beta_(x.real("beta")), layers_(std::max(layers, 1U)) {}

  bool limits() const noexcept override { return limit_.limits(); }

  std::uint64_t entries(std::uint32_t layer, std::uint64_t seen,
                        std::span<const double>) const noexcept override {
    const auto mean = limit_.entries(seen);
    if (mean >= seen || layers_ == 1)
      return mean;
    const auto t = static_cast<double>(mean);
    const double first = std::min(2 * t - t / beta_, static_cast<double>(seen));
    const double last = 2 * t - first;
    const double along = std::min(layer, layers_ - 1) / static_cast<double>(layers_ - 1);
    // Rounded down, so that the sum over layers is never above that of `uniform`.
    return static_cast<std::uint64_t>(std::floor(first - along * (first - last) + 1e-6));
  }

private:
  mean_limit limit_;
  double beta_;
  std::uint32_t layers_;
};

std::vector<option_spec> options() {
  auto x = mean_limit::options("a layer may keep in the mean");
  x.push_back({.name = "beta",
               .type = option_type::real,
               .fallback = 20.0,
               .help = "the mean over what the last layer keeps: larger is steeper, 1 is uniform",
               .min = 1,
               .max = 1e6,
               .choices = {}});
  return x;
}

} // namespace

table_entry<budget_policy> pyramid_budget() {
  return {{"pyramid", "the first layer keeps most, the last least (PyramidKV)", options()},
          [](const option_set& x, const policy_context& c) -> std::unique_ptr<budget_policy> {
            return std::make_unique<pyramid>(x, c.layers);
          }};
}

} // namespace pikv::policies
