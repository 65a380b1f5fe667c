// SPDX-License-Identifier: Apache-2.0
/// \file
/// Measured and planned bytes, device by device.
#pragma once

#include <string>
#include <vector>

#include "filled_cache.hpp"

namespace pikv::bench {

struct device_row {
  device_usage measured;
  tools::byte_account planned;
  std::uint64_t passing = 0; ///< tools::passing_bytes

  std::uint64_t held() const noexcept { return measured.total_bytes() - measured.free_bytes; }
  std::uint64_t planned_held() const noexcept { return planned.total() - planned.free_cells; }
  /// More free slots than the last slabs of the plan and the slots of passing pages.
  bool wastes() const noexcept { return measured.free_bytes > planned.free_cells + passing; }
  /// Held over planned, percent. Free slots are apart: where pages pass through, their number
  /// depends on timing.
  double off_percent() const noexcept;
};

std::vector<device_row> rows_of(const fill_options& o, const cache_usage& usage);

/// K and V of all tokens in 16 bits in one piece, bytes.
std::uint64_t dense_bytes(const fill_options& o);

/// The bytes of the fullest device over the mean.
double imbalance(const std::vector<device_row>& rows);

std::string table_text(const fill_options& o, const std::vector<device_row>& rows);
std::string table_json(const fill_options& o, const filled_cache& x,
                       const std::vector<device_row>& rows);

} // namespace pikv::bench
