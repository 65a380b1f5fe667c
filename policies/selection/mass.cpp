// SPDX-License-Identifier: Apache-2.0
// Mass: pages ranked by the second-order estimate of the softmax mass of their n keys,
//   log m = log n + q.mean / sqrt(d) + 1/2 sum_c (q_c / sqrt(d))^2 var_c,
// the cumulant expansion of log sum exp(q.k / sqrt(d)) for keys with that mean and variance. The
// variance matters: without it a page whose one key matches the query ranks with the average ones.
// Rank: softmax of log m over the pages per query head, then the mean over the heads of the scope.
#include <pikv/policies/selection/page_budget.hpp>

namespace pikv::policies {

namespace {

class mass final : public selection_policy {
public:
  explicit mass(page_budget budget) noexcept : budget_(budget) {}
  page_score score() const noexcept override { return page_score::mass; }
  head_scope scope() const noexcept override { return budget_.scope; }
  std::size_t pages_to_read(std::size_t eligible) const noexcept override {
    return budget_.of(eligible);
  }
  std::optional<select_budget> budget() const noexcept override { return budget_.rule(); }

private:
  page_budget budget_;
};

} // namespace

table_entry<selection_policy> mass_selection() {
  return {{"mass", "the pages with the largest estimated attention mass", page_budget::options()},
          [](const option_set& x, const policy_context&) -> std::unique_ptr<selection_policy> {
            return std::make_unique<mass>(page_budget::from(x));
          }};
}

} // namespace pikv::policies
