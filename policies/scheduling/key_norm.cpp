// SPDX-License-Identifier: Apache-2.0
// KNorm (arXiv 2406.11430): keys of small L2 norm get much attention, so the page whose keys are
// longest goes first. Utility = 1 / (1 + norm), norm the root mean square over the page's tokens
// and KV heads, from the page's summary. Pages that settled before the policy was chosen have no
// norm and go before all others. The paper spares the first layers; a budget by layer can.
#include <cmath>

#include <pikv/policies/scheduling/scheduling_policy.hpp>

namespace pikv::policies {

namespace {

class key_norm final : public scheduling_policy {
public:
  bool needs_mass() const noexcept override { return false; }
  bool needs_reads() const noexcept override { return false; }
  std::uint8_t needs_keys() const noexcept override { return key_fact_norm; }
  bool ages() const noexcept override { return false; }
  double utility(const page_record& page, const schedule_context&) const noexcept override {
    if ((page.keys.known & key_fact_norm) == 0 || !(page.keys.norm >= 0))
      return 0;
    return 1 / (1 + static_cast<double>(page.keys.norm));
  }
};

} // namespace

table_entry<scheduling_policy> key_norm_scheduling() {
  return {{"key_norm", "the page with the longest keys goes first (KNorm, arXiv 2406.11430)", {}},
          [](const option_set&, const policy_context&) -> std::unique_ptr<scheduling_policy> {
            return std::make_unique<key_norm>();
          }};
}

} // namespace pikv::policies
