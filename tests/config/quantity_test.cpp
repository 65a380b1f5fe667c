// SPDX-License-Identifier: Apache-2.0
#include <pikv/config/quantity.hpp>

#include <random>

#include <gtest/gtest.h>

namespace pikv::config {
namespace {

std::int64_t bytes(std::string_view text) {
  const auto x = read_quantity(option_type::bytes, text);
  EXPECT_TRUE(x.ok()) << x.error().what;
  return x ? *x : -1;
}
std::int64_t nanoseconds(std::string_view text) {
  const auto x = read_quantity(option_type::duration, text);
  EXPECT_TRUE(x.ok()) << x.error().what;
  return x ? *x : -1;
}

TEST(size, takes_all_units) {
  EXPECT_EQ(bytes("7"), 7);
  EXPECT_EQ(bytes("7B"), 7);
  EXPECT_EQ(bytes("7KB"), 7000);
  EXPECT_EQ(bytes("7KiB"), 7168);
  EXPECT_EQ(bytes("7MB"), 7000000);
  EXPECT_EQ(bytes("7MiB"), 7 << 20);
  EXPECT_EQ(bytes("7GB"), 7000000000);
  EXPECT_EQ(bytes("7GiB"), std::int64_t{7} << 30);
  EXPECT_EQ(bytes("7TiB"), std::int64_t{7} << 40);
}

TEST(size, takes_fractions_that_are_whole_bytes) {
  EXPECT_EQ(bytes("1.5GiB"), std::int64_t{3} << 29);
  EXPECT_EQ(bytes("0.1KB"), 100);
  EXPECT_EQ(bytes("2.50 MB"), 2500000);
}

TEST(duration, takes_all_units) {
  EXPECT_EQ(nanoseconds("3ns"), 3);
  EXPECT_EQ(nanoseconds("3us"), 3000);
  EXPECT_EQ(nanoseconds("3ms"), 3000000);
  EXPECT_EQ(nanoseconds("3s"), 3000000000);
  EXPECT_EQ(nanoseconds("3min"), 180000000000);
  EXPECT_EQ(nanoseconds("0"), 0);
}

TEST(duration, fractions_are_exact) {
  EXPECT_EQ(nanoseconds("0.3s"), 300000000);
  EXPECT_EQ(nanoseconds("1.000000001s"), 1000000001);
  EXPECT_EQ(nanoseconds("0.1min"), 6000000000);
}

TEST(quantity, refuses_what_is_none) {
  for (const auto* text : {"", "GiB", "1.GiB", ".5GiB", "1..5GiB", "1.5.5GiB", "-1B", "+1B", "1 G",
                           "1GiBs", "1 GiB ", " 1GiB", "1e3B", "0x1B", "9223372036854775808"})
    EXPECT_EQ(read_quantity(option_type::bytes, text).code(), errc::config_value) << text;
  for (const auto* text : {"1", "0.5", "1h", "1sec", "1S", "0.5ns", "1.0000000001s"})
    EXPECT_EQ(read_quantity(option_type::duration, text).code(), errc::config_value) << text;
}

TEST(quantity, takes_the_largest_number) { EXPECT_EQ(bytes("9223372036854775807"), INT64_MAX); }

TEST(quantity, is_shown_in_the_largest_unit_that_fits) {
  EXPECT_EQ(show_quantity(option_type::bytes, std::int64_t{1} << 30), "1GiB");
  EXPECT_EQ(show_quantity(option_type::bytes, (std::int64_t{1} << 30) + 1024), "1048577KiB");
  EXPECT_EQ(show_quantity(option_type::bytes, 1000), "1000B");
  EXPECT_EQ(show_quantity(option_type::bytes, 0), "0B");
  EXPECT_EQ(show_quantity(option_type::duration, 30000000000), "30s");
  EXPECT_EQ(show_quantity(option_type::duration, 60000000000), "1min");
  EXPECT_EQ(show_quantity(option_type::duration, 1500000), "1500us");
}

TEST(quantity, reads_back_what_it_shows) {
  std::mt19937_64 random(4);
  for (int i = 0; i < 5000; ++i) {
    const auto x = static_cast<std::int64_t>(random() >> (1 + random() % 63)) << (random() % 3 * 5);
    if (x < 0)
      continue;
    EXPECT_EQ(bytes(show_quantity(option_type::bytes, x)), x);
    EXPECT_EQ(nanoseconds(show_quantity(option_type::duration, x)), x);
  }
}

} // namespace
} // namespace pikv::config
