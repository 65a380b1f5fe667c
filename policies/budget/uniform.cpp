// SPDX-License-Identifier: Apache-2.0
// Uniform: every layer may keep the same number of entries (mean_limit.hpp).
#include <pikv/policies/budget/mean_limit.hpp>

namespace pikv::policies {

namespace {

class uniform final : public budget_policy {
public:
  explicit uniform(const option_set& x) : limit_(x) {}
  bool limits() const noexcept override { return limit_.limits(); }
  std::uint64_t entries(std::uint32_t, std::uint64_t seen,
                        std::span<const double>) const noexcept override {
    return limit_.entries(seen);
  }

private:
  mean_limit limit_;
};

} // namespace

table_entry<budget_policy> uniform_budget() {
  return {{"uniform", "the same number of entries in every layer", mean_limit::options()},
          [](const option_set& x, const policy_context&) -> std::unique_ptr<budget_policy> {
            return std::make_unique<uniform>(x);
          }};
}

} // namespace pikv::policies
