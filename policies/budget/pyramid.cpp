// SPDX-License-Identifier: Apache-2.0
// Pyramid: budgets that fall linearly from the first layer to the last one, with the mean of
// `uniform`. PyramidKV, Cai et al., arXiv 2406.02069:
//   least = T / beta,  most = 2 T - least,  b_l = most - l (most - least) / (L - 1)
// T is the mean. Where `most` exceeds what was seen, most = seen and least = 2 T - seen: so nothing
// goes early that a later budget would have kept. Here
// - `least` is at least what no budget may drop (sinks and the window at its largest), and where T
//   is below that all layers have T;
// - most - T is in whole pages, and b_l - T is rounded towards 0 to whole pages, so that the pages of
//   all layers together are those of `uniform`, to the page: what layer l has more, layer L - 1 - l
//   has less;
// - the paper sets budgets once, behind a prompt; here they hold at every length.
#include <algorithm>

#include <pikv/policies/budget/average.hpp>

namespace pikv::policies {

namespace {

class pyramid final : public budget_policy {
public:
  pyramid(const option_set& x, const policy_context& context)
      : average_(x), beta_(x.real("beta")), context_(context) {}
  bool limits() const noexcept override { return average_.limits(); }

  std::uint64_t entries(const budget_facts& x) const noexcept override {
    const auto mean = average_.entries(x.seen);
    const std::uint64_t page = context_.page_tokens;
    const auto more = pages_above(x.seen, mean, page);
    if (more == 0 || context_.layers < 2)
      return mean;
    const auto least = std::max<std::uint64_t>(ceil_share(1 / beta_, mean),
                                               context_.protected_entries);
    if (mean <= least)
      return mean;
    const auto most = static_cast<std::int64_t>(std::min(more, (mean - least) / page));
    const std::int64_t last = context_.layers - 1;
    const auto layer = std::min<std::int64_t>(x.layer, last);
    const auto pages = most * (last - 2 * layer) / last; // towards 0
    return mean + static_cast<std::uint64_t>(pages) * page; // modulo 2^64, also for less
  }

private:
  average_budget average_;
  double beta_;
  policy_context context_;
};

} // namespace

table_entry<budget_policy> pyramid_budget() {
  return {{"pyramid", "more entries in the first layers than in the last ones (PyramidKV)",
           average_options({{.name = "beta",
                             .type = option_type::real,
                             .fallback = 20.0,
                             .help = "the last layer keeps the mean over this; 1: like uniform",
                             .min = 1,
                             .max = 1e6,
                             .choices = {}}})},
          [](const option_set& x, const policy_context& c) -> std::unique_ptr<budget_policy> {
            return std::make_unique<pyramid>(x, c);
          }};
}

} // namespace pikv::policies
