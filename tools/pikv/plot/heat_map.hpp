// SPDX-License-Identifier: Apache-2.0
/// \file
/// Grids of shares in [0, 1] as colours, several panels in one picture.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "plot/svg.hpp"

namespace pikv::plot {

struct heat_panel {
  std::string title;
  std::vector<std::optional<double>> values; ///< `[rows, columns]`; none: not measured
};

struct heat_map {
  std::string title;
  std::string note;
  std::string row_title, column_title;
  std::vector<std::string> rows, columns; ///< the same in all panels
  std::vector<heat_panel> panels;
  std::size_t panels_a_line = 4;
};

/// Each cell has its value in it as a percentage, so that colour is not needed to read it.
std::string to_svg(const heat_map& x, theme colours = theme::automatic);

/// "#rrggbb" of a share: dark violet (0) over teal to yellow (1), of even perceived steps, readable
/// by people who see red and green alike (five anchors of Matplotlib's "viridis").
std::string heat_colour(double share);

} // namespace pikv::plot
