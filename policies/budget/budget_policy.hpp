// SPDX-License-Identifier: Apache-2.0
/// \file
/// Budget: how many entries a layer of a sequence may keep.
#pragma once

#include <cstdint>
#include <limits>

#include <pikv/policies/table.hpp>

namespace pikv::policies {

inline constexpr std::uint64_t unlimited_entries = std::numeric_limits<std::uint64_t>::max();

/// Pure and deterministic. Called from one thread.
class budget_policy {
public:
  virtual ~budget_policy() = default;
  virtual bool limits() const noexcept = 0; ///< false: `entries` is always unlimited_entries
  /// Entries that `layer` may keep, window included, after `seen` were appended to it.
  virtual std::uint64_t entries(std::uint32_t layer, std::uint64_t seen) const noexcept = 0;
};

std::span<const table_entry<budget_policy>> budget_table();

} // namespace pikv::policies
