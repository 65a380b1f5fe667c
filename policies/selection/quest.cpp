// SPDX-License-Identifier: Apache-2.0
// Quest (arXiv 2406.10774): pages ranked by an upper bound of any logit in them, from the minimum
// and maximum of each key channel,
//   U = sum_c max(q_c min_c, q_c max_c) / sqrt(d) >= max_i q.k_i / sqrt(d).
// The bound never misses a page that holds a matching key, and overrates wide pages.
// Rank: softmax of U over the pages per query head, then the mean over the heads of the scope.
#include <pikv/policies/selection/page_budget.hpp>

namespace pikv::policies {

namespace {

class quest final : public selection_policy {
public:
  explicit quest(page_budget budget) noexcept : budget_(budget) {}
  page_score score() const noexcept override { return page_score::quest; }
  head_scope scope() const noexcept override { return budget_.scope; }
  std::size_t pages_to_read(std::size_t eligible) const noexcept override {
    return budget_.of(eligible);
  }
  std::optional<select_budget> budget() const noexcept override { return budget_.rule(); }

private:
  page_budget budget_;
};

} // namespace

table_entry<selection_policy> quest_selection() {
  return {
      {"quest", "the pages with the largest bound on any logit (Quest)", page_budget::options()},
      [](const option_set& x, const policy_context&) -> std::unique_ptr<selection_policy> {
        return std::make_unique<quest>(page_budget::from(x));
      }};
}

} // namespace pikv::policies
