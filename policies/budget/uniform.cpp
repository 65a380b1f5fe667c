// SPDX-License-Identifier: Apache-2.0
// Uniform: every layer may keep the same number of entries.
#include <pikv/policies/budget/average.hpp>

namespace pikv::policies {

namespace {

class uniform final : public budget_policy {
public:
  explicit uniform(const option_set& x) : average_(x) {}
  bool limits() const noexcept override { return average_.limits(); }
  std::uint64_t entries(const budget_facts& x) const noexcept override {
    return average_.entries(x.seen);
  }

private:
  average_budget average_;
};

} // namespace

table_entry<budget_policy> uniform_budget() {
  return {{"uniform", "the same number of entries in every layer", average_options()},
          [](const option_set& x, const policy_context&) -> std::unique_ptr<budget_policy> {
            return std::make_unique<uniform>(x);
          }};
}

} // namespace pikv::policies
