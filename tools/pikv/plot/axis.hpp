// SPDX-License-Identifier: Apache-2.0
/// \file
/// From values to pixels, and where the ticks of an axis go.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace pikv::plot {

enum class scale : std::uint8_t { linear, log };

struct axis {
  std::string title;
  scale kind = scale::linear;
  double low = 0; ///< shown range; with scale::log above 0. low == high: fit to the values
  double high = 0;
  bool percent = false; ///< values are shares and ticks read "12.5%"
};

/// The axis with a range that holds all finite values; an empty or a single value gets some room
/// around it. A range that is given stays.
axis fitted(axis x, std::span<const double> values);

/// Where `value` lies between low (0) and high (1), kept in [0, 1]. Not finite: 0.
double place(const axis& x, double value) noexcept;

/// Round values inside the range, ascending: about `wanted` of them.
std::vector<double> ticks(const axis& x, std::size_t wanted = 6);

/// "0.25", "12.5%", "1024".
std::string tick_text(const axis& x, double value);

} // namespace pikv::plot
