// SPDX-License-Identifier: Apache-2.0
/// \file
/// Scheduling: the utility of a settled page; the least useful page gives way first.
#pragma once

#include <cstdint>

#include <pikv/messages/key_facts.hpp>
#include <pikv/policies/table.hpp>

namespace pikv::policies {

/// What the scheduler remembers of one settled page. `tick` counts attends of all sequences and
/// layers; in `pikv replay`, requests. A use is the settling or a read.
struct page_record {
  std::uint32_t first_position = 0;
  std::uint32_t tokens = 0;
  std::uint64_t settled_at = 0;   ///< tick
  std::uint64_t last_read_at = 0; ///< tick of the last attend that read it (settled_at if none)
  std::uint64_t reads = 0;        ///< attends that read it
  std::uint64_t queries = 0;      ///< query rows that could have read it since it settled
  double mass = 0;                ///< attention mass it received: sum over rows, mean over heads
  double last_mass = 0;           ///< of that, what the last attend gave, per row
  double prompt_mass = 0; ///< the same of the last attend with several rows: the prompt's end
  double mean_gap = 0;    ///< ticks between uses, moving average; 0: not read yet
  double reuse = 0;       ///< share of the pages of its class that were read again (page_uses.hpp)
  /// Ticks in which as many pages settle as are kept, at most the mean gap of all reads; as of the
  /// last use.
  double turnover = 0;
  double expected_mass = 0;   ///< expected attention of queries to come; from replayed traces only
  std::uint64_t next_use = 0; ///< tick of the next read, `never` if none; known in replays only
  std::uint16_t tag = 0;      ///< what its class is named by: the layer; see page_uses.hpp
  key_facts keys;             ///< as far as needs_keys asks

  static constexpr std::uint64_t never = std::uint64_t{1} << 53; ///< exact as a double
};

struct schedule_context {
  std::uint64_t now = 0;            ///< tick
  std::uint32_t last_position = 0;  ///< newest position of the (sequence, layer)
  std::uint64_t last_prompt_at = 0; ///< tick of its last attend with several rows
};

/// Pure and deterministic. Called from one thread.
class scheduling_policy {
public:
  virtual ~scheduling_policy() = default;
  virtual bool needs_mass() const noexcept = 0;  ///< attention then also returns per-page mass
  virtual bool needs_reads() const noexcept = 0; ///< the router then reports which pages were read
  virtual std::uint8_t needs_keys() const noexcept { return key_fact_none; } ///< key_fact bits
  /// Whether the utility can change without a use of the page. Where it cannot, whoever lets pages
  /// give way may keep them in order (utility_heap.hpp) instead of comparing all.
  virtual bool ages() const noexcept { return true; }
  /// Higher is kept longer; finite; ties give way in order of position, oldest first.
  virtual double utility(const page_record& page,
                         const schedule_context& context) const noexcept = 0;
};

std::span<const table_entry<scheduling_policy>> scheduling_table();

} // namespace pikv::policies
