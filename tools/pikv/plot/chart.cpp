// SPDX-License-Identifier: Apache-2.0
#include "plot/chart.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "plot/labels.hpp"

namespace pikv::plot {

namespace {

constexpr double width = 960, height = 600;
constexpr double left = 78, right = 216, top = 66, bottom = 58; // room around the plot
constexpr double plot_width = width - left - right, plot_height = height - top - bottom;

struct frame {
  axis x, y;
  double across(double v) const { return left + plot_width * place(x, v); }
  double down(double v) const { return top + plot_height * (1 - place(y, v)); }
};

frame frame_of(const chart& c) {
  std::vector<double> xs, ys;
  for (const auto& s : c.lines)
    for (const auto& p : s.points) {
      xs.push_back(p.x);
      ys.push_back(p.y);
    }
  return {fitted(c.x, xs), fitted(c.y, ys)};
}

void draw_axes(svg& out, const frame& f) {
  for (const double v : ticks(f.x, 8)) {
    out.line(f.across(v), top, f.across(v), top + plot_height);
    out.text(f.across(v), top + plot_height + 18, tick_text(f.x, v), anchor::middle);
  }
  for (const double v : ticks(f.y, 7)) {
    out.line(left, f.down(v), left + plot_width, f.down(v));
    out.text(left - 8, f.down(v) + 4, tick_text(f.y, v), anchor::end);
  }
  out.box(left, top, plot_width, plot_height, "frame");
  out.text(left + plot_width / 2, height - 14, f.x.title, anchor::middle, "axis");
  out.text(20, top + plot_height / 2, f.y.title, anchor::middle, "axis", -90);
}

void draw_legend(svg& out, const chart& c) {
  double y = top + 12;
  for (std::size_t i = 0; i < c.lines.size(); ++i, y += 22) {
    out.mark(width - right + 24, y - 4, i);
    out.text(width - right + 38, y, c.lines[i].name);
  }
  if (c.front) {
    out.line(width - right + 16, y - 4, width - right + 32, y - 4, "front");
    out.text(width - right + 38, y, "not beaten by any");
  }
}

std::string joined(const frame& f, const std::vector<point>& points) {
  std::string out;
  for (const auto& p : points)
    out += fmt::format("{}{},{}", out.empty() ? "" : " ", coordinate(f.across(p.x)),
                       coordinate(f.down(p.y)));
  return out;
}

/// The front goes along the axes from point to point: what lies between two of them was not
/// measured.
std::vector<point> stairs(const std::vector<point>& front) {
  std::vector<point> out;
  for (const auto& p : front) {
    if (!out.empty())
      out.push_back({p.x, out.back().y, {}});
    out.push_back(p);
  }
  return out;
}

void draw_points(svg& out, const chart& c, const frame& f) {
  label_board board{left, top, left + plot_width, top + plot_height};
  for (const auto& s : c.lines)
    for (const auto& p : s.points)
      board.keep_free(f.across(p.x), f.down(p.y));
  for (std::size_t i = 0; i < c.lines.size(); ++i) {
    const auto& s = c.lines[i];
    if (s.curve && s.points.size() > 1)
      out.path(joined(f, s.points), fmt::format("s{} curve", i % series_colours));
    for (const auto& p : s.points)
      out.mark(f.across(p.x), f.down(p.y), i,
               p.label.empty()
                   ? std::string{}
                   : fmt::format("{}: {}, {}", p.label, tick_text(f.x, p.x), tick_text(f.y, p.y)));
  }
  const auto label = [&](const point& p) {
    if (const auto spot = board.place(f.across(p.x), f.down(p.y), p.label); spot)
      out.text(spot->x, spot->y, p.label, spot->at, "small");
  };
  const auto front = c.front ? pareto_front(c.lines) : std::vector<point>{};
  for (const auto& p : front) // these first: they matter most and room may run out
    label(p);
  for (const auto& s : c.lines)
    for (const auto& p : s.points)
      if (std::ranges::find(front, p.label, &point::label) == front.end())
        label(p);
}

} // namespace

std::vector<point> pareto_front(const std::vector<series>& x) {
  std::vector<point> all;
  for (const auto& s : x)
    for (const auto& p : s.points)
      if (std::isfinite(p.x) && std::isfinite(p.y))
        all.push_back(p);
  std::ranges::sort(
      all, [](const point& a, const point& b) { return a.x != b.x ? a.x < b.x : a.y < b.y; });
  std::vector<point> front;
  for (const auto& p : all)
    if (front.empty() || p.y < front.back().y)
      front.push_back(p);
  return front;
}

std::string to_svg(const chart& c, theme colours) {
  const auto f = frame_of(c);
  svg out{width, height, colours};
  out.text(left, 28, c.title, anchor::start, "title");
  out.text(left, 48, c.note, anchor::start, "label");
  draw_axes(out, f);
  if (c.front)
    if (const auto front = stairs(pareto_front(c.lines)); front.size() > 1)
      out.path(joined(f, front), "front");
  draw_points(out, c, f);
  draw_legend(out, c);
  return std::move(out).finish();
}

} // namespace pikv::plot
