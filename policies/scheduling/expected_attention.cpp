// SPDX-License-Identifier: Apache-2.0
// ExpectedAttention (arXiv 2510.00636): keys that queries to come are expected to attend to are
// kept,
//   z = mu k / sqrt(d) + k^T Sigma k / 2d,
// with mean and covariance of the model's queries before their rotary embedding, turned to the
// positions ahead. Utility = the page's share of the softmax of z, mean over heads, as told. PiKV
// is given rotated queries and does not know the model's rotation, so it cannot compute z: a trace
// that was recorded inside a model can.
#include <cmath>

#include <pikv/policies/scheduling/scheduling_policy.hpp>

namespace pikv::policies {

namespace {

class expected_attention final : public scheduling_policy {
public:
  bool needs_mass() const noexcept override { return false; }
  bool needs_reads() const noexcept override { return false; }
  bool ages() const noexcept override { return false; }
  double utility(const page_record& page, const schedule_context&) const noexcept override {
    return std::isfinite(page.expected_mass) ? page.expected_mass : 0;
  }
};

} // namespace

table_entry<scheduling_policy> expected_attention_scheduling() {
  return {{"expected_attention",
           "the page that queries to come are expected to attend to least goes first (arXiv "
           "2510.00636)",
           {},
           "it needs the model's queries before their rotation, which a cache is not given: "
           "offline only; use `pikv replay` with a trace that has \"expected\""},
          [](const option_set&, const policy_context&) -> std::unique_ptr<scheduling_policy> {
            return std::make_unique<expected_attention>();
          }};
}

} // namespace pikv::policies
