// SPDX-License-Identifier: Apache-2.0
// A cost model in the manner of FlexGen (arXiv 2303.06865): what goes first is the page whose
// absence is expected to cost the least time. FlexGen plans percentages of tensors over tiers with
// a linear program; for pages of one size the same trade is a price for each page:
//   utility = reads per tick since it settled * cost of having it again [ticks^-1 * us]
//   cost    = min(fetch, tokens * (recompute + first_position / 1000 * per_context))
// fetch is the time to bring a page from where it would go; 0: nowhere, so only recomputing is
// left. Recomputing a token costs its share of the model and attention over everything before it.
#include <algorithm>

#include <pikv/policies/scheduling/scheduling_policy.hpp>

namespace pikv::policies {

namespace {

class flexgen final : public scheduling_policy {
public:
  flexgen(double fetch_us, double recompute_us, double per_context_us) noexcept
      : fetch_us_(fetch_us), recompute_us_(recompute_us), per_context_us_(per_context_us) {}
  bool needs_mass() const noexcept override { return false; }
  bool needs_reads() const noexcept override { return true; }
  double utility(const page_record& page, const schedule_context& now) const noexcept override {
    const auto life = now.now > page.settled_at ? now.now - page.settled_at : 0;
    // As if read once when it settled: a page without reads is worth the less the older it is.
    const auto rate = (1 + static_cast<double>(page.reads)) / (1 + static_cast<double>(life));
    return rate * cost_us(page);
  }

private:
  double cost_us(const page_record& page) const noexcept {
    const auto token = recompute_us_ + page.first_position / 1000.0 * per_context_us_;
    const auto recompute = page.tokens * token;
    return fetch_us_ > 0 ? std::min(fetch_us_, recompute) : recompute;
  }

  double fetch_us_, recompute_us_, per_context_us_;
};

option_spec microseconds(std::string name, double fallback, std::string help) {
  return {.name = std::move(name),
          .type = option_type::real,
          .fallback = fallback,
          .help = std::move(help),
          .min = 0,
          .max = 1e9,
          .choices = {}};
}

} // namespace

table_entry<scheduling_policy> flexgen_scheduling() {
  return {{"flexgen",
           "the page that is cheapest to have again, times how often it is read, goes first (cost "
           "model after FlexGen, arXiv 2303.06865)",
           {microseconds("fetch_us", 0, "to fetch a page again; 0: it can only be recomputed"),
            microseconds("recompute_us", 50, "to recompute a token, without its attention"),
            microseconds("per_context_us", 5,
                         "to recompute a token's attention over 1000 tokens before it")}},
          [](const option_set& x, const policy_context&) -> std::unique_ptr<scheduling_policy> {
            return std::make_unique<flexgen>(x.real("fetch_us"), x.real("recompute_us"),
                                             x.real("per_context_us"));
          }};
}

} // namespace pikv::policies
