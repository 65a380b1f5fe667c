// SPDX-License-Identifier: Apache-2.0
/// \file
/// Compression: in which form a settled page is kept.
#pragma once

#include <pikv/messages/types.hpp>
#include <pikv/policies/placement/placement_policy.hpp>
#include <pikv/policies/table.hpp>

namespace pikv::policies {

/// Pure and deterministic. Called from one thread.
class compression_policy {
public:
  virtual ~compression_policy() = default;
  virtual bool keeps_raw() const noexcept { return false; } ///< true: `choose` is never called
  /// The form for a page; `raw` is the form that it has now.
  virtual form choose(const page_facts& page, form raw) const noexcept = 0;
};

std::span<const table_entry<compression_policy>> compression_table();

} // namespace pikv::policies
