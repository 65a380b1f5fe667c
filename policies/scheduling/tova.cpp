// SPDX-License-Identifier: Apache-2.0
// TOVA (arXiv 2401.06104): utility = the attention that the last query gave the page, mean over all
// heads of the layer. The paper drops the weakest token at every step; here a page is the unit, its
// mass is the sum over its tokens, and after an attend with several rows it is the mean over them.
#include <cmath>

#include <pikv/policies/scheduling/scheduling_policy.hpp>

namespace pikv::policies {

namespace {

class tova final : public scheduling_policy {
public:
  bool needs_mass() const noexcept override { return true; }
  bool needs_reads() const noexcept override { return false; }
  double utility(const page_record& page, const schedule_context&) const noexcept override {
    return std::isfinite(page.last_mass) ? page.last_mass : 0;
  }
};

} // namespace

table_entry<scheduling_policy> tova_scheduling() {
  return {
      {"tova", "the page that the last query attended to least goes first (arXiv 2401.06104)", {}},
      [](const option_set&, const policy_context&) -> std::unique_ptr<scheduling_policy> {
        return std::make_unique<tova>();
      }};
}

} // namespace pikv::policies
