// SPDX-License-Identifier: Apache-2.0
// Layer mass: layers that pay more attention to what lies outside their window may keep more of it,
// with the mean of `uniform`. Design of this project; the idea that layers need different budgets is
// PyramidKV's (arXiv 2406.02069).
//   b_l = least + pages_l * P,  sum of pages_l = L * floor((T - least) / P)
// T is the mean, P the tokens of a page, least = max(least_share * T, what no budget may drop). The
// pages go to the layers in proportion to their measured shares by largest remainders (the lower
// layer at a tie); no layer gets more than it has seen, and what exceeds that goes to the others.
// Until shares are measured, all layers have T.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include <pikv/policies/budget/average.hpp>

namespace pikv::policies {

namespace {

/// `total` pages to layers in proportion to `shares`, at most `most` each; total <= most * layers.
std::vector<std::uint64_t> apportion(std::uint64_t total, std::uint64_t most,
                                     std::span<const double> shares) {
  std::vector<std::uint64_t> pages(shares.size());
  std::vector<std::size_t> open(shares.size());
  std::iota(open.begin(), open.end(), std::size_t{0});
  std::vector<double> ideal(shares.size());
  for (bool full = true; full && !open.empty();) {
    double sum = 0;
    for (const auto l : open)
      sum += shares[l];
    for (const auto l : open)
      ideal[l] = static_cast<double>(total)
                 * (sum > 0 ? shares[l] / sum : 1 / static_cast<double>(open.size()));
    std::vector<std::size_t> rest;
    for (const auto l : open)
      if (ideal[l] < static_cast<double>(most))
        rest.push_back(l);
      else
        pages[l] = most;
    full = rest.size() < open.size();
    total -= most * (open.size() - rest.size());
    open = std::move(rest);
  }
  for (const auto l : open) {
    pages[l] = static_cast<std::uint64_t>(ideal[l]);
    total -= std::min(total, pages[l]); // rounding of the sum never takes more than there is
  }
  std::ranges::stable_sort(open, std::greater{},
                           [&](std::size_t l) { return ideal[l] - std::floor(ideal[l]); });
  for (std::size_t i = 0; i < open.size() && total > 0; ++i, --total)
    ++pages[open[i]];
  return pages;
}

class layer_mass final : public budget_policy {
public:
  layer_mass(const option_set& x, const policy_context& context)
      : average_(x), least_(x.real("least")), context_(context) {}
  bool limits() const noexcept override { return average_.limits(); }
  bool needs_mass() const noexcept override { return limits(); }

  std::uint64_t entries(const budget_facts& x) const override {
    const auto mean = average_.entries(x.seen);
    const auto layers = x.mass_shares.size();
    const auto more = pages_above(x.seen, mean, context_.page_tokens);
    if (more == 0 || x.layer >= layers)
      return mean;
    const auto least = std::max<std::uint64_t>(least_ > 0 ? ceil_share(least_, mean) : 0,
                                               context_.protected_entries);
    if (mean <= least)
      return mean;
    const auto each = (mean - least) / context_.page_tokens;
    const auto pages = apportion(each * layers, each + more, x.mass_shares);
    return mean - each * context_.page_tokens + pages[x.layer] * context_.page_tokens;
  }

private:
  average_budget average_;
  double least_;
  policy_context context_;
};

} // namespace

table_entry<budget_policy> layer_mass_budget() {
  return {{"layer_mass", "more entries in layers with more attention mass outside the window",
           average_options({{.name = "least",
                             .type = option_type::real,
                             .fallback = 0.25,
                             .help = "share of the mean that every layer keeps",
                             .min = 0,
                             .max = 1,
                             .choices = {}}})},
          [](const option_set& x, const policy_context& c) -> std::unique_ptr<budget_policy> {
            return std::make_unique<layer_mass>(x, c);
          }};
}

} // namespace pikv::policies
