// SPDX-License-Identifier: Apache-2.0
// Belady's MIN (IBM Systems Journal 1966): the page whose next use is farthest away goes first. It
// needs the future, so it is a yardstick for replays: no policy can keep more pages that are read.
#include <pikv/policies/scheduling/scheduling_policy.hpp>

namespace pikv::policies {

namespace {

class belady final : public scheduling_policy {
public:
  bool needs_mass() const noexcept override { return false; }
  bool needs_reads() const noexcept override { return false; }
  bool ages() const noexcept override { return false; }
  double utility(const page_record& page, const schedule_context&) const noexcept override {
    return 0.0 - static_cast<double>(page.next_use);
  }
};

} // namespace

table_entry<scheduling_policy> belady_scheduling() {
  return {{"belady",
           "the page whose next use is farthest away goes first (MIN, IBM Systems Journal 1966)",
           {},
           "it needs to know the future: offline only; use `pikv replay`"},
          [](const option_set&, const policy_context&) -> std::unique_ptr<scheduling_policy> {
            return std::make_unique<belady>();
          }};
}

} // namespace pikv::policies
