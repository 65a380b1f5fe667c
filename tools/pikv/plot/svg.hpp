// SPDX-License-Identifier: Apache-2.0
/// \file
/// Writes SVG pictures: text, lines, boxes and marks in one place, so that escaping, colours and
/// fonts are decided once. The output is one well-formed XML document without scripts and without
/// references to anything outside it.
///
/// Colours are CSS classes. An `automatic` picture follows the reader's light or dark setting by a
/// media query and is light where the viewer knows none; the others are fixed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pikv::plot {

enum class theme : std::uint8_t { automatic, light, dark };

enum class anchor : std::uint8_t { start, middle, end };

/// Shapes of marks; colour alone must not tell series apart.
inline constexpr std::size_t mark_shapes = 6;
/// Series colours, classes "s0" to "s7"; both repeat beyond.
inline constexpr std::size_t series_colours = 8;

/// `x` as text of XML and of attribute values in double quotes. Bytes that XML does not allow are
/// left out.
std::string escaped(std::string_view x);

/// A number for a coordinate: at most 2 digits after the point, no exponent.
std::string coordinate(double x);

/// Lengths in pixels, y downwards.
class svg {
public:
  svg(double width, double height, theme colours);

  /// `style` is a list of classes: "title", "label", "small", "axis"; see svg.cpp.
  void text(double x, double y, std::string_view words, anchor at = anchor::start,
            std::string_view style = "label", double turned_degrees = 0);
  void line(double x0, double y0, double x1, double y1, std::string_view style = "grid");
  /// `points`: "x,y x,y ...".
  void path(std::string_view points, std::string_view style);
  void box(double x, double y, double width, double height, std::string_view style);
  /// A box of a fixed colour ("#rrggbb") with a tip that shows on hovering.
  void cell(double x, double y, double width, double height, std::string_view fill,
            std::string_view tip);
  /// The mark of a series, filled with its colour.
  void mark(double x, double y, std::size_t series, std::string_view tip = {});

  std::string finish() &&; ///< the document

private:
  std::string body_;
};

} // namespace pikv::plot
