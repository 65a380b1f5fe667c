// SPDX-License-Identifier: Apache-2.0
#include "plot.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "text_table.hpp"

namespace pikv::tools {

namespace {

constexpr double width = 860, height = 480;
constexpr double left = 64, right = 640, top = 48, bottom = 420;

// Okabe and Ito's palette, for all kinds of colour vision, and greys.
constexpr const char* colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00",
                                   "#56b4e9", "#000000", "#999999", "#7f4f24", "#5a189a"};

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text)
    out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : std::string(1, c);
  return out;
}

struct axes {
  double first = 1, last = 1; ///< capacities
  double most = 1;            ///< hit share at the top

  double x(double capacity) const {
    if (last <= first)
      return (left + right) / 2;
    return left + (right - left) * std::log(capacity / first) / std::log(last / first);
  }
  double y(double share) const { return bottom - (bottom - top) * share / most; }
};

axes axes_of(const study& s) {
  axes out;
  const auto [low, high] = std::ranges::minmax(s.capacities);
  out.first = static_cast<double>(std::max<std::uint64_t>(low, 1));
  out.last = static_cast<double>(std::max<std::uint64_t>(high, 1));
  out.most = std::max(0.1, std::min(1.0, std::ceil(s.infinite.hit_share() * 10 + 0.2) / 10));
  return out;
}

void add_text(std::string& svg, double x, double y, std::string_view anchor,
              std::string_view text) {
  svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor,
                     escaped(text));
}

void add_line(std::string& svg, double x1, double y1, double x2, double y2,
              std::string_view style) {
  svg += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1,
                     x2, y2, style);
}

void add_grid(std::string& svg, const study& s, const axes& a) {
  for (int i = 0; i <= 5; ++i) {
    const auto share = a.most * i / 5;
    add_line(svg, left, a.y(share), right, a.y(share), "stroke=\"#ddd\"");
    add_text(svg, left - 8, a.y(share) + 4, "end", fmt::format("{:.0f}%", 100 * share));
  }
  for (const auto capacity : s.capacities) {
    const auto x = a.x(static_cast<double>(capacity));
    add_line(svg, x, bottom, x, bottom + 5, "stroke=\"#555\"");
    add_text(svg, x, bottom + 20, "middle", grouped(capacity));
  }
  add_text(svg, (left + right) / 2, bottom + 44, "middle", "capacity [blocks]");
  add_text(svg, left, top - 24, "start", fmt::format("Hits by capacity: {}", s.name));
}

} // namespace

std::string study_svg(const study& s) {
  const auto a = axes_of(s);
  auto svg = fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
                         "viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" font-size=\"13\">\n"
                         "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
                         width, height);
  add_grid(svg, s, a);
  const auto infinite = a.y(s.infinite.hit_share());
  add_line(svg, left, infinite, right, infinite, "stroke=\"#555\" stroke-dasharray=\"6 4\"");
  double legend = top + 12;
  const auto entry = [&](std::string_view name, std::string_view style) {
    add_line(svg, right + 24, legend - 4, right + 52, legend - 4, style);
    add_text(svg, right + 60, legend, "start", name);
    legend += 22;
  };
  entry("infinite", "stroke=\"#555\" stroke-dasharray=\"6 4\"");
  std::vector<std::string> order;
  std::map<std::string, std::map<std::uint64_t, double>> lines;
  for (const auto& row : s.rows) {
    if (!lines.contains(row.policy))
      order.push_back(row.policy);
    lines[row.policy][row.capacity] = row.result.hit_share();
  }
  for (std::size_t i = 0; i < order.size(); ++i) {
    const auto* colour = colours[i % std::size(colours)];
    std::string points;
    for (const auto& [capacity, share] : lines[order[i]]) {
      const auto x = a.x(static_cast<double>(capacity)), y = a.y(share);
      points += fmt::format("{:.1f},{:.1f} ", x, y);
      svg +=
          fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"/>\n", x, y, colour);
    }
    svg += fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n",
                       points, colour);
    entry(order[i], fmt::format("stroke=\"{}\" stroke-width=\"2\"", colour));
  }
  return svg + "</svg>\n";
}

} // namespace pikv::tools
