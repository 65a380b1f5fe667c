// SPDX-License-Identifier: Apache-2.0
/// \file
/// Scheduling: the utility of a settled page; the least useful page gives way first.
#pragma once

#include <cstdint>

#include <pikv/policies/table.hpp>

namespace pikv::policies {

/// What the scheduler remembers of one settled page. `tick` counts attends of the (sequence,
/// layer).
struct page_record {
  std::uint32_t first_position = 0;
  std::uint32_t tokens = 0;
  std::uint64_t settled_at = 0;   ///< tick
  std::uint64_t last_read_at = 0; ///< tick of the last attend that read it (settled_at if none)
  std::uint64_t reads = 0;        ///< attends that read it
  std::uint64_t queries = 0;      ///< query rows that could have read it since it settled
  double mass = 0;                ///< attention mass it received: sum over rows, mean over heads
};

struct schedule_context {
  std::uint64_t now = 0;           ///< tick
  std::uint32_t last_position = 0; ///< newest position of the (sequence, layer)
};

/// Pure and deterministic. Called from one thread.
class scheduling_policy {
public:
  virtual ~scheduling_policy() = default;
  virtual bool needs_mass() const noexcept = 0;  ///< attention then also returns per-page mass
  virtual bool needs_reads() const noexcept = 0; ///< the router then reports which pages were read
  /// Higher is kept longer; finite; ties give way in order of position, oldest first.
  virtual double utility(const page_record& page,
                         const schedule_context& context) const noexcept = 0;
};

std::span<const table_entry<scheduling_policy>> scheduling_table();

} // namespace pikv::policies
