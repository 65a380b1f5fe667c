// SPDX-License-Identifier: Apache-2.0
/// \file
/// Each layer's share of the attention mass outside the window, over all sequences: what
/// budgets by layer go by. Plain data, used by the scheduler actor only.
///
/// Of each attend with settled pages counts the mass per row that went to them (mean over query
/// heads, in [0, 1]); a layer's mean over its attends fades with `memory` of them. Only pages that
/// are kept can be seen: a layer that had to drop much shows less than it would like to read.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <pikv/messages/protocol.hpp>

namespace pikv {

class layer_shares {
public:
  static constexpr std::uint32_t memory = 256; ///< attends of a layer
  static constexpr std::uint32_t warm_up = 16; ///< attends of every layer before anything is said
  static constexpr double band = 0.1;          ///< a share moves once one is off by more than this

  explicit layer_shares(std::uint32_t layers = 0) : layers_(layers) {}

  void attended(const attended_event& e);
  /// `[layers]`, sums to 1, or empty while too little is known. Hysteresis: they stay as they are
  /// until one of them is off by more than `band` of itself; then all are taken anew.
  std::span<const double> in_force() const noexcept { return in_force_; }

private:
  struct layer {
    std::uint64_t attends = 0;
    double mass = 0; ///< faded mean, per row
  };
  void settle_on();

  std::vector<layer> layers_;
  std::vector<double> in_force_;
};

} // namespace pikv
