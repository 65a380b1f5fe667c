// SPDX-License-Identifier: Apache-2.0
// KeyDiff (arXiv 2504.15364): keys unlike the others are kept. Utility = 2 - cosine of the page's
// mean key and the mean of the unit mean keys of the pages before it, mean over KV heads: in [1,
// 3]. The paper takes single keys and the mean over the cache at each step; here the cosine is that
// of the moment when the page settled. Pages that settled before the policy was chosen go first.
#include <algorithm>

#include <pikv/policies/scheduling/scheduling_policy.hpp>

namespace pikv::policies {

namespace {

class key_diff final : public scheduling_policy {
public:
  bool needs_mass() const noexcept override { return false; }
  bool needs_reads() const noexcept override { return false; }
  std::uint8_t needs_keys() const noexcept override { return key_fact_likeness; }
  bool ages() const noexcept override { return false; }
  double utility(const page_record& page, const schedule_context&) const noexcept override {
    const double cosine = page.keys.likeness;
    if ((page.keys.known & key_fact_likeness) == 0 || !(cosine >= -2 && cosine <= 2))
      return 0;
    return 2 - std::clamp(cosine, -1.0, 1.0);
  }
};

} // namespace

table_entry<scheduling_policy> key_diff_scheduling() {
  return {{"key_diff",
           "the page whose keys are most like the mean key goes first (KeyDiff, arXiv 2504.15364)",
           {}},
          [](const option_set&, const policy_context&) -> std::unique_ptr<scheduling_policy> {
            return std::make_unique<key_diff>();
          }};
}

} // namespace pikv::policies
