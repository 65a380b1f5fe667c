// SPDX-License-Identifier: Apache-2.0
#include "plot/svg.hpp"

#include <array>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace pikv::plot {

namespace {

constexpr std::string_view light_colours =
    ".bg{fill:#ffffff}.small{stroke:#ffffff}.title,.label,.small,.axis{fill:#1b1f24}.small{fill:#"
    "57606a}"
    ".grid{stroke:#d8dee4}.frame{stroke:#8c959f}.front{stroke:#57606a}"
    ".s0{fill:#0969da;stroke:#0969da}.s1{fill:#bc4c00;stroke:#bc4c00}"
    ".s2{fill:#1a7f37;stroke:#1a7f37}.s3{fill:#8250df;stroke:#8250df}"
    ".s4{fill:#bf3989;stroke:#bf3989}.s5{fill:#9a6700;stroke:#9a6700}"
    ".s6{fill:#1b7c83;stroke:#1b7c83}.s7{fill:#57606a;stroke:#57606a}";
constexpr std::string_view dark_colours =
    ".bg{fill:#0d1117}.small{stroke:#0d1117}.title,.label,.small,.axis{fill:#e6edf3}.small{fill:#"
    "9198a1}"
    ".grid{stroke:#2a313c}.frame{stroke:#656c76}.front{stroke:#9198a1}"
    ".s0{fill:#58a6ff;stroke:#58a6ff}.s1{fill:#f0883e;stroke:#f0883e}"
    ".s2{fill:#3fb950;stroke:#3fb950}.s3{fill:#bc8cff;stroke:#bc8cff}"
    ".s4{fill:#f778ba;stroke:#f778ba}.s5{fill:#d29922;stroke:#d29922}"
    ".s6{fill:#39c5cf;stroke:#39c5cf}.s7{fill:#9198a1;stroke:#9198a1}";
constexpr std::string_view shapes =
    "text{font-family:system-ui,'DejaVu Sans',Arial,sans-serif}.title{font-size:16px;font-weight:"
    "600}.label{font-size:12px}.axis{font-size:13px}.small{font-size:10px;stroke-width:3;paint-"
    "order:stroke}.grid{stroke-width:1}"
    ".frame{stroke-width:1;fill:none}.front{stroke-width:1.5;fill:none;stroke-dasharray:5 4}"
    ".curve{stroke-width:2}";

std::string style_of(theme x) {
  std::string out{shapes};
  out += x == theme::dark ? dark_colours : light_colours;
  if (x == theme::automatic)
    out += fmt::format("@media (prefers-color-scheme:dark){{{}}}", dark_colours);
  // After the series' colours, which would win otherwise.
  return out + ".curve{fill:none}.on-dark{fill:#ffffff}.on-light{fill:#101010}";
}

std::string tip_of(std::string_view words) {
  return words.empty() ? std::string{} : fmt::format("<title>{}</title>", escaped(words));
}

/// The outline of a mark of about 9 pixels around the origin.
std::string_view outline(std::size_t shape) {
  constexpr std::array<std::string_view, mark_shapes> outlines{
      "M-4.5,0A4.5,4.5 0 1 1 4.5,0A4.5,4.5 0 1 1 -4.5,0Z", // disc
      "M-4,-4H4V4H-4Z",                                    // square
      "M0,-5L5,4H-5Z",                                     // triangle
      "M0,-5.5L5,0L0,5.5L-5,0Z",                           // diamond
      "M-2,-5H2V-2H5V2H2V5H-2V2H-5V-2H-2Z",                // plus
      "M0,5L5,-4H-5Z"};                                    // triangle, point down
  return outlines[shape % mark_shapes];
}

} // namespace

std::string escaped(std::string_view x) {
  std::string out;
  for (const char c : x) {
    switch (c) {
    case '&': out += "&amp;"; break;
    case '<': out += "&lt;"; break;
    case '>': out += "&gt;"; break;
    case '"': out += "&quot;"; break;
    default:
      if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t')
        out += c;
    }
  }
  return out;
}

std::string coordinate(double x) {
  if (!std::isfinite(x))
    return "0";
  auto out = fmt::format("{:.2f}", x);
  out.erase(out.find_last_not_of('0') + 1);
  if (out.back() == '.')
    out.pop_back();
  return out == "-0" ? "0" : out;
}

svg::svg(double width, double height, theme colours) {
  body_ = fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
                      "viewBox=\"0 0 {0} {1}\" role=\"img\">\n<style>{2}</style>\n"
                      "<rect class=\"bg\" width=\"{0}\" height=\"{1}\"/>\n",
                      coordinate(width), coordinate(height), style_of(colours));
}

void svg::text(double x, double y, std::string_view words, anchor at, std::string_view style,
               double turned_degrees) {
  constexpr std::array names{"start", "middle", "end"};
  const auto turn = turned_degrees == 0
                        ? std::string{}
                        : fmt::format(" transform=\"rotate({} {} {})\"", coordinate(turned_degrees),
                                      coordinate(x), coordinate(y));
  body_ += fmt::format("<text class=\"{}\" x=\"{}\" y=\"{}\" text-anchor=\"{}\"{}>{}</text>\n",
                       escaped(style), coordinate(x), coordinate(y),
                       names[static_cast<std::size_t>(at)], turn, escaped(words));
}

void svg::line(double x0, double y0, double x1, double y1, std::string_view style) {
  body_ +=
      fmt::format("<line class=\"{}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>\n", escaped(style),
                  coordinate(x0), coordinate(y0), coordinate(x1), coordinate(y1));
}

void svg::path(std::string_view points, std::string_view style) {
  body_ += fmt::format("<polyline class=\"{}\" points=\"{}\"/>\n", escaped(style), escaped(points));
}

void svg::box(double x, double y, double width, double height, std::string_view style) {
  body_ += fmt::format("<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>\n",
                       escaped(style), coordinate(x), coordinate(y), coordinate(width),
                       coordinate(height));
}

void svg::cell(double x, double y, double width, double height, std::string_view fill,
               std::string_view tip) {
  body_ += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\">{}</rect>\n",
                       coordinate(x), coordinate(y), coordinate(width), coordinate(height),
                       escaped(fill), tip_of(tip));
}

void svg::mark(double x, double y, std::size_t series, std::string_view tip) {
  body_ += fmt::format("<path class=\"s{}\" transform=\"translate({} {})\" d=\"{}\">{}</path>\n",
                       series % series_colours, coordinate(x), coordinate(y), outline(series),
                       tip_of(tip));
}

std::string svg::finish() && {
  body_ += "</svg>\n";
  return std::move(body_);
}

} // namespace pikv::plot
