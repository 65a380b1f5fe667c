// SPDX-License-Identifier: Apache-2.0
// SnapKV (arXiv 2404.14469): utility of a page of the prompt = the attention that it got from the
// last queries of the prompt, mean over them and over heads. The observation window is the last
// attend with several rows, so an engine that wants the paper's window of w queries attends the
// last w tokens of a prompt as a chunk of their own. The paper pools scores over 5 to 7 neighbours;
// the sum over a page's tokens does so here. Pages that settled after the prompt are kept before
// all pages of the prompt, the youngest longest, as the paper never drops what was generated.
#include <cmath>

#include <pikv/policies/scheduling/scheduling_policy.hpp>

namespace pikv::policies {

namespace {

class snap final : public scheduling_policy {
public:
  bool needs_mass() const noexcept override { return true; }
  bool needs_reads() const noexcept override { return false; }
  double utility(const page_record& page, const schedule_context& now) const noexcept override {
    constexpr double most_mass = 1; // of one row
    if (page.settled_at > now.last_prompt_at)
      return most_mass + page.first_position;
    return std::isfinite(page.prompt_mass) ? page.prompt_mass : 0;
  }
};

} // namespace

table_entry<scheduling_policy> snap_scheduling() {
  return {{"snap",
           "the page of the prompt that the prompt's last chunk attended to least goes first "
           "(SnapKV, arXiv 2404.14469)",
           {}},
          [](const option_set&, const policy_context&) -> std::unique_ptr<scheduling_policy> {
            return std::make_unique<snap>();
          }};
}

} // namespace pikv::policies
