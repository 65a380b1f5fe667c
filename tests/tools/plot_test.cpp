// SPDX-License-Identifier: Apache-2.0
#include "plot/chart.hpp"
#include "plot/heat_map.hpp"
#include "plot/labels.hpp"
#include "well_formed.hpp"

#include <cmath>
#include <limits>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pikv::plot {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(xml_fault, sees_what_is_wrong) {
  using tools::xml_fault;
  EXPECT_EQ(xml_fault("<a x=\"1\"><b/>t &amp; u</a>\n"), "");
  EXPECT_NE(xml_fault("<a><b></a></b>"), "");
  EXPECT_NE(xml_fault("<a>&</a>"), "");
  EXPECT_NE(xml_fault("<a x=\"<\"/>"), "");
  EXPECT_NE(xml_fault("<a>"), "");
  EXPECT_NE(xml_fault("<a/><a/>"), "");
}

TEST(svg, escapes_text_and_drops_what_xml_forbids) {
  EXPECT_EQ(escaped("a<b>&\"c\x01\x1f\n"), "a&lt;b&gt;&amp;&quot;c\n");
}

TEST(svg, coordinates_are_short_and_never_exponents) {
  EXPECT_EQ(coordinate(12.5), "12.5");
  EXPECT_EQ(coordinate(3), "3");
  EXPECT_EQ(coordinate(-0.001), "0");
  EXPECT_EQ(coordinate(1e-12), "0");
  EXPECT_EQ(coordinate(123456.789), "123456.79");
  EXPECT_EQ(coordinate(std::nan("")), "0");
}

chart sample(scale kind = scale::linear) {
  chart x{.title = "a <title> & more",
          .note = "note",
          .x = {"across", kind, 0, 0, true},
          .y = {"up", kind, 0, 0, false},
          .lines = {},
          .front = true};
  x.lines.push_back({"first", {{0.5, 1, "p\"q"}, {0.25, 4, "r"}}, false});
  x.lines.push_back({"second", {{0.125, 2, "s"}, {1, 0.5, "t"}}, true});
  return x;
}

TEST(chart, is_well_formed_in_all_themes) {
  for (const auto t : {theme::automatic, theme::light, theme::dark})
    for (const auto kind : {scale::linear, scale::log})
      EXPECT_EQ(tools::xml_fault(to_svg(sample(kind), t)), "");
}

TEST(chart, only_automatic_pictures_follow_the_reader) {
  EXPECT_THAT(to_svg(sample()), HasSubstr("prefers-color-scheme:dark"));
  EXPECT_THAT(to_svg(sample(), theme::dark), Not(HasSubstr("prefers-color-scheme")));
}

TEST(chart, draws_one_mark_per_point_and_series) {
  const auto text = to_svg(sample());
  std::size_t marks = 0;
  for (auto at = text.find("<path class=\"s"); at != std::string::npos;
       at = text.find("<path class=\"s", at + 1))
    ++marks;
  EXPECT_EQ(marks, 4U + 2U); // points, and the legend's
}

TEST(chart, without_points_is_still_a_picture) {
  EXPECT_EQ(tools::xml_fault(to_svg(chart{})), "");
  chart strange;
  strange.x.kind = strange.y.kind = scale::log;
  strange.lines.push_back({"x", {{0, -1, "a"}, {std::nan(""), 1, "b"}}, false});
  EXPECT_EQ(tools::xml_fault(to_svg(strange)), "");
}

TEST(pareto_front, agrees_with_comparing_all_pairs) {
  std::mt19937 random{3};
  for (int round = 0; round < 50; ++round) {
    series s{"x", {}, false};
    for (int i = 0; i < 30; ++i)
      s.points.push_back({static_cast<double>(random() % 12), static_cast<double>(random() % 12),
                          std::to_string(i)});
    const auto front = pareto_front({s});
    for (const auto& p : s.points) {
      bool beaten = false, there = false;
      for (const auto& other : s.points)
        beaten = beaten || (other.x <= p.x && other.y <= p.y && (other.x < p.x || other.y < p.y));
      for (const auto& f : front)
        there = there || (f.x == p.x && f.y == p.y);
      EXPECT_EQ(there, !beaten);
    }
    for (std::size_t i = 1; i < front.size(); ++i)
      EXPECT_GT(front[i].x, front[i - 1].x);
  }
}

TEST(axis, fits_all_values_with_room) {
  const std::vector<double> values{3, -1, 7, std::nan("")};
  const auto x = fitted({}, values);
  EXPECT_LT(x.low, -1);
  EXPECT_GT(x.high, 7);
  const auto log = fitted({.title = {}, .kind = scale::log}, std::vector<double>{0, 0.01, 10});
  EXPECT_GT(log.low, 0);
  EXPECT_LT(log.low, 0.01);
  EXPECT_GT(log.high, 10);
}

TEST(axis, keeps_a_given_range) {
  const auto x =
      fitted({.title = {}, .kind = scale::linear, .low = 0, .high = 2}, std::vector<double>{5});
  EXPECT_EQ(x.low, 0);
  EXPECT_EQ(x.high, 2);
}

TEST(axis, places_between_its_ends) {
  const axis linear{"", scale::linear, 2, 4};
  EXPECT_DOUBLE_EQ(place(linear, 3), 0.5);
  EXPECT_DOUBLE_EQ(place(linear, 9), 1);
  EXPECT_DOUBLE_EQ(place(linear, std::nan("")), 0);
  const axis log{"", scale::log, 1, 100};
  EXPECT_DOUBLE_EQ(place(log, 10), 0.5);
  EXPECT_DOUBLE_EQ(place(log, -1), 0);
}

TEST(axis, ticks_are_round_and_inside) {
  EXPECT_THAT(ticks({"", scale::linear, 0, 10}, 5), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(ticks({"", scale::log, 0.1, 1}, 6), ElementsAre(0.125, 0.25, 0.5, 1));
  for (const double high : {1e-3, 0.7, 42.0, 1e6})
    for (const auto kind : {scale::linear, scale::log}) {
      const axis x{"", kind, high / 1000, high};
      const auto all = ticks(x);
      EXPECT_GE(all.size(), 2U) << high;
      EXPECT_LE(all.size(), 14U) << high;
      EXPECT_THAT(all, Each(testing::AllOf(testing::Ge(x.low * 0.99), testing::Le(high * 1.01))));
    }
}

TEST(axis, tick_text_is_short) {
  EXPECT_EQ(tick_text({.title = {}, .percent = true}, 0.125), "12.5%");
  EXPECT_EQ(tick_text({}, 1024), "1024");
  EXPECT_EQ(tick_text({}, -1e-17), "0");
}

TEST(labels, cover_neither_marks_nor_each_other) {
  label_board board{0, 0, 300, 200};
  std::mt19937 random{9};
  struct box {
    double x0, y0, x1, y1;
  };
  std::vector<box> taken;
  std::vector<std::pair<double, double>> marks;
  for (int i = 0; i < 40; ++i) {
    marks.emplace_back(random() % 300, random() % 200);
    board.keep_free(marks.back().first, marks.back().second);
    taken.push_back({marks.back().first - 4, marks.back().second - 4, marks.back().first + 4,
                     marks.back().second + 4});
  }
  int placed = 0;
  for (const auto& [x, y] : marks) {
    const auto spot = board.place(x, y, "label");
    if (!spot)
      continue;
    ++placed;
    const double width = 5 * 5.0; // five letters of at least 5 pixels
    const double from = spot->at == anchor::start    ? spot->x
                        : spot->at == anchor::middle ? spot->x - width / 2
                                                     : spot->x - width;
    const box b{from, spot->y - 7, from + width, spot->y};
    EXPECT_GE(b.x0, 0);
    EXPECT_LE(b.x1, 300);
    for (const auto& t : taken)
      EXPECT_FALSE(b.x0 < t.x1 && t.x0 < b.x1 && b.y0 < t.y1 && t.y0 < b.y1);
    taken.push_back(b);
  }
  EXPECT_GT(placed, 3);
  EXPECT_FALSE(board.place(150, 100, ""));
}

TEST(heat_map, is_well_formed_and_writes_every_value) {
  heat_map x{.title = "t",
             .note = "n",
             .row_title = "depth",
             .column_title = "context",
             .rows = {"0", "0.5"},
             .columns = {"256", "512"},
             .panels = {{"one & two", {0.0, 1.0, 0.42, std::nullopt}}, {"three", {}}}};
  const auto text = to_svg(x);
  EXPECT_EQ(tools::xml_fault(text), "");
  EXPECT_THAT(text, HasSubstr(">42<"));
  EXPECT_THAT(text, HasSubstr(">100<"));
  EXPECT_THAT(text, HasSubstr("depth 0.5, context 256: 42.0%"));
}

TEST(heat_map, colours_grow_lighter) {
  const auto brightness = [](const std::string& c) {
    const auto part = [&](std::size_t i) { return std::stoi(c.substr(i, 2), nullptr, 16); };
    return 0.3 * part(1) + 0.59 * part(3) + 0.11 * part(5);
  };
  for (double x = 0; x < 0.95; x += 0.1)
    EXPECT_LT(brightness(heat_colour(x)), brightness(heat_colour(x + 0.1)));
  EXPECT_EQ(heat_colour(-1), heat_colour(0));
  EXPECT_EQ(heat_colour(2), "#fde725");
}

} // namespace
} // namespace pikv::plot
