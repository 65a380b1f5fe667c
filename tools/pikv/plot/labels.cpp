// SPDX-License-Identifier: Apache-2.0
#include "plot/labels.hpp"

#include <algorithm>
#include <array>

namespace pikv::plot {

namespace {

constexpr double letter = 5.7;  // mean width of a letter of the "small" style
constexpr double ascent = 8;    // above the base line
constexpr double descent = 2.5; // below it
constexpr double mark_half = 5.5;

} // namespace

void label_board::keep_free(double x, double y) {
  taken_.push_back({x - mark_half, y - mark_half, x + mark_half, y + mark_half});
}

bool label_board::is_free(const area& a) const {
  if (a.x0 < left_ || a.y0 < top_ || a.x1 > right_ || a.y1 > bottom_)
    return false;
  return std::ranges::none_of(taken_, [&](const area& b) {
    return a.x0 < b.x1 && b.x0 < a.x1 && a.y0 < b.y1 && b.y0 < a.y1;
  });
}

std::optional<label_board::spot> label_board::place(double x, double y, std::string_view label) {
  if (label.empty())
    return std::nullopt;
  const double width = letter * static_cast<double>(label.size());
  const std::array<spot, 8> tries{{{x + 8, y + 3.5, anchor::start},
                                   {x, y - 8, anchor::middle},
                                   {x - 8, y + 3.5, anchor::end},
                                   {x, y + 16, anchor::middle},
                                   {x + 7, y - 6, anchor::start},
                                   {x + 7, y + 13, anchor::start},
                                   {x, y - 19, anchor::middle},
                                   {x + 4, y + 25, anchor::start}}};
  for (const auto& t : tries) {
    const double from = t.at == anchor::start    ? t.x
                        : t.at == anchor::middle ? t.x - width / 2
                                                 : t.x - width;
    const area a{from, t.y - ascent, from + width, t.y + descent};
    if (is_free(a)) {
      taken_.push_back(a);
      return t;
    }
  }
  return std::nullopt;
}

} // namespace pikv::plot
