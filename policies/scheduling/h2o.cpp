// SPDX-License-Identifier: Apache-2.0
// H2O, heavy hitters (arXiv 2306.14048): utility = the attention mass that the page received since
// it settled. The paper keeps the heaviest tokens and the most recent ones; here a page is the unit
// and the cache's window is the recent part. The plain sum favours old pages, which were there for
// more queries; `normalise` divides by the number of query rows that could have read the page.
#include <algorithm>
#include <cmath>

#include <pikv/policies/scheduling/scheduling_policy.hpp>

namespace pikv::policies {

namespace {

class h2o final : public scheduling_policy {
public:
  explicit h2o(bool normalise) noexcept : normalise_(normalise) {}
  bool needs_mass() const noexcept override { return true; }
  bool needs_reads() const noexcept override { return false; }
  bool ages() const noexcept override { return normalise_; }
  double utility(const page_record& page, const schedule_context&) const noexcept override {
    if (!std::isfinite(page.mass))
      return 0;
    const auto queries = std::max<std::uint64_t>(page.queries, 1);
    return normalise_ ? page.mass / static_cast<double>(queries) : page.mass;
  }

private:
  bool normalise_;
};

std::vector<option_spec> options() {
  return {{.name = "normalise",
           .type = option_type::boolean,
           .fallback = true,
           .help = "divide by the query rows that could have read the page",
           .min = {},
           .max = {},
           .choices = {}}};
}

} // namespace

table_entry<scheduling_policy> h2o_scheduling() {
  return {{"h2o", "the page that received the least attention goes first (arXiv 2306.14048)",
           options()},
          [](const option_set& x, const policy_context&) -> std::unique_ptr<scheduling_policy> {
            return std::make_unique<h2o>(x.boolean("normalise"));
          }};
}

} // namespace pikv::policies
