// SPDX-License-Identifier: Apache-2.0
/// \file
/// Charts of points and curves over two axes.
#pragma once

#include <string>
#include <vector>

#include "plot/axis.hpp"
#include "plot/svg.hpp"

namespace pikv::plot {

struct point {
  double x = 0;
  double y = 0;
  std::string label; ///< shown beside the mark where there is room, and as its tip
};

struct series {
  std::string name; ///< in the legend
  std::vector<point> points;
  bool curve = false; ///< joined in their order
};

struct chart {
  std::string title;
  std::string note; ///< one line under the title
  axis x, y;
  std::vector<series> lines;
  /// Joins the points that no other point beats: one is beaten by a point with no larger x and a
  /// no larger y.
  bool front = false;
};

/// 960 x 600 pixels. Points outside a given range are drawn at its border.
std::string to_svg(const chart& x, theme colours = theme::automatic);

/// The points that no other beats, by ascending x.
std::vector<point> pareto_front(const std::vector<series>& x);

} // namespace pikv::plot
