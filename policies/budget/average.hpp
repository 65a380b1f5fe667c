// SPDX-License-Identifier: Apache-2.0
/// \file
/// What layers may keep in the mean: `tokens` entries, or ceil(share * seen) of those seen so far,
/// whichever is smaller. tokens = 0 and share = 1 set no limit.
#pragma once

#include <algorithm>
#include <vector>

#include <pikv/policies/budget/budget_policy.hpp>
#include <pikv/policies/share.hpp>

namespace pikv::policies {

class average_budget {
public:
  explicit average_budget(const option_set& x)
      : tokens_(static_cast<std::uint64_t>(x.integer("tokens"))), share_(x.real("share")) {}
  bool limits() const noexcept { return tokens_ > 0 || share_ < 1; }
  std::uint64_t entries(std::uint64_t seen) const noexcept {
    const auto by_tokens = tokens_ > 0 ? tokens_ : unlimited_entries;
    const auto by_share = share_ < 1 ? ceil_share(share_, seen) : unlimited_entries;
    return std::min(by_tokens, by_share);
  }

private:
  std::uint64_t tokens_;
  double share_;
};

/// Pages by which a layer may exceed the mean until it keeps all that it will have seen when its
/// next page settles; 0 where the mean is enough for that.
inline std::uint64_t pages_above(std::uint64_t seen, std::uint64_t mean, std::uint64_t page) {
  const auto most = seen + page - 1;
  return mean < most ? (most - mean + page - 1) / page : 0;
}

/// `more` comes behind "tokens" and "share".
inline std::vector<option_spec> average_options(std::vector<option_spec> more = {}) {
  std::vector<option_spec> out{
      {.name = "tokens",
       .type = option_type::integer,
       .fallback = std::int64_t{0},
       .help = "entries that a layer of a sequence may keep, in the mean of the layers; 0: no limit",
       .min = 0,
       .max = 4294967295.0,
       .choices = {}},
      {.name = "share",
       .type = option_type::real,
       .fallback = 1.0,
       .help = "share of the entries seen that a layer may keep, in the mean; 1: no limit",
       .min = 1e-6,
       .max = 1,
       .choices = {}}};
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

} // namespace pikv::policies
