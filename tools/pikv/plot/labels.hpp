// SPDX-License-Identifier: Apache-2.0
/// \file
/// Finds room for the labels of a chart's points, so that they cover neither each other nor a mark.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "plot/svg.hpp"

namespace pikv::plot {

/// Greedy: earlier labels take room from later ones. Pixels; labels are in the "small" style, whose
/// width is estimated from the number of bytes.
class label_board {
public:
  struct spot {
    double x = 0, y = 0;
    anchor at = anchor::start;
  };

  label_board(double left, double top, double right, double bottom)
      : left_(left), top_(top), right_(right), bottom_(bottom) {}

  void keep_free(double x, double y); ///< a mark stands there
  /// Where the label of the mark at (x, y) goes; none when there is no room or nothing to write.
  std::optional<spot> place(double x, double y, std::string_view label);

private:
  struct area {
    double x0, y0, x1, y1;
  };
  bool is_free(const area& x) const;

  double left_, top_, right_, bottom_;
  std::vector<area> taken_;
};

} // namespace pikv::plot
