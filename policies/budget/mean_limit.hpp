// SPDX-License-Identifier: Apache-2.0
/// \file
/// What budgets share that give layers different room: how many entries a layer keeps in the mean.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <pikv/policies/budget/budget_policy.hpp>
#include <pikv/policies/share.hpp>

namespace pikv::policies {

/// `tokens` entries, or ceil(share * seen) of those seen so far, whichever is smaller. tokens = 0
/// and share = 1 set no limit.
class mean_limit {
public:
  explicit mean_limit(const option_set& x)
      : tokens_(static_cast<std::uint64_t>(x.integer("tokens"))), share_(x.real("share")) {}

  bool limits() const noexcept { return tokens_ > 0 || share_ < 1; }
  std::uint64_t entries(std::uint64_t seen) const noexcept {
    const auto by_tokens = tokens_ > 0 ? tokens_ : unlimited_entries;
    const auto by_share = share_ < 1 ? ceil_share(share_, seen) : unlimited_entries;
    return std::min(by_tokens, by_share);
  }

  /// Those of the constructor; `of_whom` as in "a layer of a sequence may keep".
  static std::vector<option_spec> options(const char* of_whom = "a layer of a sequence may keep");

private:
  std::uint64_t tokens_;
  double share_;
};

} // namespace pikv::policies
