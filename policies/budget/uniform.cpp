// SPDX-License-Identifier: Apache-2.0
// Uniform: every layer may keep the same number of entries: `tokens` of them, or ceil(share * seen)
// of those seen so far, whichever is smaller. tokens = 0 and share = 1 set no limit.
#include <algorithm>

#include <pikv/policies/budget/budget_policy.hpp>
#include <pikv/policies/share.hpp>

namespace pikv::policies {

namespace {

class uniform final : public budget_policy {
public:
  uniform(std::uint64_t tokens, double share) noexcept : tokens_(tokens), share_(share) {}
  bool limits() const noexcept override { return tokens_ > 0 || share_ < 1; }
  std::uint64_t entries(std::uint32_t, std::uint64_t seen) const noexcept override {
    const auto by_tokens = tokens_ > 0 ? tokens_ : unlimited_entries;
    const auto by_share = share_ < 1 ? ceil_share(share_, seen) : unlimited_entries;
    return std::min(by_tokens, by_share);
  }

private:
  std::uint64_t tokens_;
  double share_;
};

std::vector<option_spec> options() {
  return {{.name = "tokens",
           .type = option_type::integer,
           .fallback = std::int64_t{0},
           .help = "entries that a layer of a sequence may keep; 0: no limit",
           .min = 0,
           .max = 4294967295.0,
           .choices = {}},
          {.name = "share",
           .type = option_type::real,
           .fallback = 1.0,
           .help = "share of the entries seen that a layer may keep; 1: no limit",
           .min = 1e-6,
           .max = 1,
           .choices = {}}};
}

} // namespace

table_entry<budget_policy> uniform_budget() {
  return {{"uniform", "the same number of entries in every layer", options()},
          [](const option_set& x, const policy_context&) -> std::unique_ptr<budget_policy> {
            return std::make_unique<uniform>(static_cast<std::uint64_t>(x.integer("tokens")),
                                             x.real("share"));
          }};
}

} // namespace pikv::policies
