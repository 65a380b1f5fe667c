// SPDX-License-Identifier: Apache-2.0
#include "text_table.hpp"

#include <gtest/gtest.h>

namespace pikv::tools {
namespace {

TEST(text_table, columns_are_as_wide_as_their_widest_cell) {
  text_table table{{{"name"}, {"n", align::right}}};
  table.add({"a", "1"});
  table.add({"longer", "100"});
  EXPECT_EQ(table.print(), "name      n\n"
                           "------  ---\n"
                           "a         1\n"
                           "longer  100\n");
}

TEST(text_table, rows_may_be_short) {
  text_table table{{{"a"}, {"b"}}};
  table.add({"1"});
  EXPECT_EQ(table.print("  "), "  a  b\n  -  -\n  1\n");
}

TEST(text_table, thousands_are_grouped) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(1234567), "1,234,567");
}

TEST(text_table, bytes_keep_three_digits) {
  EXPECT_EQ(bytes_text(640), "640 B");
  EXPECT_EQ(bytes_text(1024), "1.000 KiB");
  EXPECT_EQ(bytes_text(12.5 * 1024), "12.50 KiB");
  EXPECT_EQ(bytes_text(64.0 * 1024 * 1024 * 1024), "64.00 GiB");
}

TEST(text_table, durations_take_the_largest_whole_unit) {
  EXPECT_EQ(duration_text(0), "0 s");
  EXPECT_EQ(duration_text(30'000'000'000), "30 s");
  EXPECT_EQ(duration_text(5'000'000), "5 ms");
  EXPECT_EQ(duration_text(250), "250 ns");
}

TEST(text_table, text_wraps_at_spaces) {
  EXPECT_EQ(wrapped("one two three", "  ", 9), "  one two\n  three\n");
}

TEST(text_table, long_words_stay_whole) { EXPECT_EQ(wrapped("abcdefgh", " ", 4), " abcdefgh\n"); }

} // namespace
} // namespace pikv::tools
