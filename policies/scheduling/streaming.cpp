// SPDX-License-Identifier: Apache-2.0
// StreamingLLM (arXiv 2309.17453): utility = the position of the page's first token, so that the
// oldest page goes first. Together with the sinks and the window, which the cache itself keeps,
// this leaves the first tokens and the most recent ones, as in the paper.
#include <pikv/policies/scheduling/scheduling_policy.hpp>

namespace pikv::policies {

namespace {

class streaming final : public scheduling_policy {
public:
  bool needs_mass() const noexcept override { return false; }
  bool needs_reads() const noexcept override { return false; }
  bool ages() const noexcept override { return false; }
  double utility(const page_record& page, const schedule_context&) const noexcept override {
    return page.first_position;
  }
};

} // namespace

table_entry<scheduling_policy> streaming_scheduling() {
  return {{"streaming",
           "the oldest page goes first; sinks and window stay (StreamingLLM, arXiv 2309.17453)",
           {}},
          [](const option_set&, const policy_context&) -> std::unique_ptr<scheduling_policy> {
            return std::make_unique<streaming>();
          }};
}

} // namespace pikv::policies
