// SPDX-License-Identifier: Apache-2.0
// All: every old page of the route is read.
#include <pikv/policies/selection/selection_policy.hpp>

namespace pikv::policies {

namespace {

class all final : public selection_policy {
public:
  page_score score() const noexcept override { return page_score::none; }
  head_scope scope() const noexcept override { return head_scope::shared; }
  std::size_t pages_to_read(std::size_t eligible) const noexcept override { return eligible; }
  std::optional<select_budget> budget() const noexcept override { return select_budget{}; }
};

} // namespace

table_entry<selection_policy> all_selection() {
  return {{"all", "every old page of the route", {}},
          [](const option_set&, const policy_context&) -> std::unique_ptr<selection_policy> {
            return std::make_unique<all>();
          }};
}

} // namespace pikv::policies
