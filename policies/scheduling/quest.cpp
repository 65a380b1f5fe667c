// SPDX-License-Identifier: Apache-2.0
// Quest's bound (arXiv 2406.10774) without its query: no query of length 1 can have a larger
// product with a key of the page than the length of the farthest corner of the box of channel
// minima and maxima. The page that can least answer any query goes first. Quest itself drops
// nothing and asks the bound anew for each query: that is the selection policy of the same name.
// Pages that settled before the policy was chosen go first.
#include <cmath>

#include <pikv/policies/scheduling/scheduling_policy.hpp>

namespace pikv::policies {

namespace {

class quest final : public scheduling_policy {
public:
  bool needs_mass() const noexcept override { return false; }
  bool needs_reads() const noexcept override { return false; }
  std::uint8_t needs_keys() const noexcept override { return key_fact_reach; }
  bool ages() const noexcept override { return false; }
  double utility(const page_record& page, const schedule_context&) const noexcept override {
    const double reach = page.keys.reach;
    return (page.keys.known & key_fact_reach) != 0 && std::isfinite(reach) ? reach : 0;
  }
};

} // namespace

table_entry<scheduling_policy> quest_scheduling() {
  return {{"quest",
           "the page with the smallest bound on any query's logit goes first (Quest's min/max "
           "bound, arXiv 2406.10774)",
           {}},
          [](const option_set&, const policy_context&) -> std::unique_ptr<scheduling_policy> {
            return std::make_unique<quest>();
          }};
}

} // namespace pikv::policies
