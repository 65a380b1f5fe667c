// SPDX-License-Identifier: Apache-2.0
// LRU: utility = the tick at which an attend last read the page. A page counts as read when the
// selection chose it; with selection `all` every page is read by every attend and the order is that
// of position.
#include <pikv/policies/scheduling/scheduling_policy.hpp>

namespace pikv::policies {

namespace {

class lru final : public scheduling_policy {
public:
  bool needs_mass() const noexcept override { return false; }
  bool needs_reads() const noexcept override { return true; }
  bool ages() const noexcept override { return false; }
  double utility(const page_record& page, const schedule_context&) const noexcept override {
    return static_cast<double>(page.last_read_at);
  }
};

} // namespace

table_entry<scheduling_policy> lru_scheduling() {
  return {{"lru", "the page that was read longest ago goes first (least recently used)", {}},
          [](const option_set&, const policy_context&) -> std::unique_ptr<scheduling_policy> {
            return std::make_unique<lru>();
          }};
}

} // namespace pikv::policies
