// SPDX-License-Identifier: Apache-2.0
/// \file
/// Budget: how many entries a layer of a sequence may keep.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include <pikv/policies/table.hpp>

namespace pikv::policies {

inline constexpr std::uint64_t unlimited_entries = std::numeric_limits<std::uint64_t>::max();

/// What a budget may decide by.
struct budget_facts {
  std::uint32_t layer = 0;
  std::uint64_t seen = 0; ///< entries appended to the layer
  /// Each layer's share of the attention mass outside the window, `[layers]`, sums to 1; empty
  /// until it was measured. Told to policies that need masses only.
  std::span<const double> mass_shares;
};

/// Pure and deterministic. Called from one thread.
class budget_policy {
public:
  virtual ~budget_policy() = default;
  virtual bool limits() const noexcept = 0; ///< false: `entries` is always unlimited_entries
  virtual bool needs_mass() const noexcept { return false; }
  /// Entries that the layer may keep, window included. Over all layers that have seen the same,
  /// the policies with the same average keep the same number of pages.
  virtual std::uint64_t entries(const budget_facts& x) const = 0;
};

std::span<const table_entry<budget_policy>> budget_table();

} // namespace pikv::policies
