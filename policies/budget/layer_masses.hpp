// SPDX-License-Identifier: Apache-2.0
/// \file
/// How much of their attention layers give to settled pages, measured as attends report it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace pikv::policies {

/// Moving averages over attends, and values that follow them once they are `step` away: budgets
/// should not move with every query. What is evicted gives no mass, so a layer that keeps little
/// also shows less; budgets leave each layer a least share for that. Not thread-safe.
class layer_masses {
public:
  static constexpr double newest = 0.02; ///< weight of one query row
  static constexpr double step = 0.05;   ///< relative

  /// `mass`: of the settled pages, mean over the attend's rows and heads, in [0, 1].
  void observe(std::uint32_t layer, double mass, std::uint32_t rows) {
    if (layer >= means_.size()) {
      means_.resize(layer + 1, -1);
      values_.resize(layer + 1, 0);
    }
    auto& mean = means_[layer];
    const double weight = mean < 0 ? 1 : std::min(newest * rows, 0.5);
    mean = mean < 0 ? mass : mean + weight * (mass - mean);
    auto& value = values_[layer];
    if (std::abs(mean - value) > step * value)
      value = mean;
  }

  /// By layer, up to the last that was observed; 0 for those that were not.
  std::span<const double> values() const noexcept { return values_; }

private:
  std::vector<double> means_, values_;
};

} // namespace pikv::policies
