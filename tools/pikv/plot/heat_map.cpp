// SPDX-License-Identifier: Apache-2.0
#include "plot/heat_map.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

namespace pikv::plot {

namespace {

constexpr double cell_width = 44, cell_height = 24;
constexpr double row_room = 52, panel_top = 24, panel_bottom = 44, gap = 18;
constexpr double margin = 24, head = 64;

using colour = std::array<double, 3>;
constexpr std::array<colour, 5> anchors{
    {{68, 1, 84}, {59, 82, 139}, {33, 145, 140}, {94, 201, 98}, {253, 231, 37}}};

colour colour_at(double share) {
  const double at = std::clamp(share, 0.0, 1.0) * (anchors.size() - 1);
  const auto i = std::min(static_cast<std::size_t>(at), anchors.size() - 2);
  const double part = at - static_cast<double>(i);
  colour out{};
  for (std::size_t c = 0; c < 3; ++c)
    out[c] = anchors[i][c] * (1 - part) + anchors[i + 1][c] * part;
  return out;
}

void draw_cell(svg& out, const heat_map& m, std::size_t row, std::size_t column, double x, double y,
               const std::optional<double>& value) {
  if (!value) {
    out.box(x, y, cell_width, cell_height, "frame");
    return;
  }
  out.cell(x, y, cell_width, cell_height, heat_colour(*value),
           fmt::format("{} {}, {} {}: {:.1f}%", m.row_title, m.rows[row], m.column_title,
                       m.columns[column], 100 * *value));
  // Text on a fixed colour needs a fixed colour too, whatever the theme is.
  out.text(x + cell_width / 2, y + cell_height / 2 + 4, fmt::format("{:.0f}", 100 * *value),
           anchor::middle, *value < 0.6 ? "label on-dark" : "label on-light");
}

void draw_panel(svg& out, const heat_map& m, const heat_panel& p, double x, double y) {
  out.text(x + row_room, y + 14, p.title, anchor::start, "label");
  for (std::size_t r = 0; r < m.rows.size(); ++r) {
    const double cy = y + panel_top + cell_height * static_cast<double>(r);
    out.text(x + row_room - 6, cy + cell_height / 2 + 4, m.rows[r], anchor::end, "small");
    for (std::size_t c = 0; c < m.columns.size(); ++c)
      if (const auto i = r * m.columns.size() + c; i < p.values.size())
        draw_cell(out, m, r, c, x + row_room + cell_width * static_cast<double>(c), cy,
                  p.values[i]);
  }
  const double below = y + panel_top + cell_height * static_cast<double>(m.rows.size());
  for (std::size_t c = 0; c < m.columns.size(); ++c)
    out.text(x + row_room + cell_width * (static_cast<double>(c) + 0.5), below + 14, m.columns[c],
             anchor::middle, "small");
}

} // namespace

std::string heat_colour(double share) {
  const auto c = colour_at(share);
  return fmt::format("#{:02x}{:02x}{:02x}", std::lround(c[0]), std::lround(c[1]),
                     std::lround(c[2]));
}

std::string to_svg(const heat_map& m, theme colours) {
  const auto a_line = std::max<std::size_t>(1, std::min(m.panels_a_line, m.panels.size()));
  const auto lines = (m.panels.size() + a_line - 1) / a_line;
  // A panel is as wide as its cells or its title, at about 6.8 pixels a letter.
  std::size_t letters = 0;
  for (const auto& p : m.panels)
    letters = std::max(letters, p.title.size());
  const double panel_width = row_room + gap
                             + std::max(cell_width * static_cast<double>(m.columns.size()),
                                        6.8 * static_cast<double>(letters));
  const double panel_height =
      panel_top + cell_height * static_cast<double>(m.rows.size()) + panel_bottom - gap;
  const double width = std::max(560.0, 2 * margin + panel_width * static_cast<double>(a_line));
  const double height = head + panel_height * static_cast<double>(lines) + margin;
  svg out{width, height, colours};
  out.text(margin, 28, m.title, anchor::start, "title");
  out.text(margin, 48, m.note, anchor::start, "label");
  for (std::size_t i = 0; i < m.panels.size(); ++i)
    draw_panel(out, m, m.panels[i], margin + panel_width * static_cast<double>(i % a_line),
               head + panel_height * static_cast<double>(i / a_line));
  return std::move(out).finish();
}

} // namespace pikv::plot
