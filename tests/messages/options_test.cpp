// SPDX-License-Identifier: Apache-2.0
#include <pikv/messages/options.hpp>

#include <limits>

#include <gtest/gtest.h>

namespace pikv {
namespace {

option_spec integer_spec() {
  return {"k", option_type::integer, std::int64_t{2}, "how many", 1, 8, {}};
}
option_spec real_spec() { return {"share", option_type::real, 0.5, "share", 0, 1, {}}; }
option_spec text_spec() {
  return {"heads", option_type::text, std::string{"shared"}, "scope", {}, {}, {"shared", "own"}};
}

TEST(check, accepts_bounds_and_refuses_beyond) {
  EXPECT_TRUE(check(integer_spec(), std::int64_t{1}).ok());
  EXPECT_TRUE(check(integer_spec(), std::int64_t{8}).ok());
  EXPECT_EQ(check(integer_spec(), std::int64_t{0}).code(), errc::invalid_argument);
  EXPECT_EQ(check(integer_spec(), std::int64_t{9}).code(), errc::invalid_argument);
}

TEST(check, names_option_value_and_range) {
  EXPECT_EQ(check(integer_spec(), std::int64_t{9}).error().what,
            "k: 9 is out of range; allowed: from 1 to 8");
}

TEST(check, names_a_single_bound) {
  auto spec = integer_spec();
  spec.max.reset();
  EXPECT_EQ(check(spec, std::int64_t{0}).error().what, "k: 0 is out of range; allowed: at least 1");
  spec.min.reset();
  spec.max = 3;
  EXPECT_EQ(check(spec, std::int64_t{4}).error().what, "k: 4 is out of range; allowed: at most 3");
}

TEST(check, refuses_other_types) {
  EXPECT_EQ(check(integer_spec(), 2.0).code(), errc::invalid_argument);
  EXPECT_EQ(check(integer_spec(), true).code(), errc::invalid_argument);
  EXPECT_EQ(check(real_spec(), std::string{"x"}).code(), errc::invalid_argument);
  EXPECT_EQ(check(text_spec(), std::int64_t{1}).code(), errc::invalid_argument);
}

TEST(check, takes_integers_for_reals) { EXPECT_TRUE(check(real_spec(), std::int64_t{1}).ok()); }

TEST(check, refuses_what_is_not_finite_also_without_a_range) {
  auto spec = real_spec();
  spec.min.reset();
  spec.max.reset();
  for (const double x :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
    EXPECT_EQ(check(spec, x).code(), errc::not_finite);
}

TEST(check, refuses_text_that_is_no_choice_and_lists_them) {
  EXPECT_EQ(check(text_spec(), std::string{"all"}).error().what,
            "heads: \"all\" is not allowed; choose one of: shared, own");
}

TEST(check, accepts_any_text_without_choices) {
  auto spec = text_spec();
  spec.choices.clear();
  EXPECT_TRUE(check(spec, std::string{"anything"}).ok());
}

TEST(complete, adds_defaults) {
  const auto done = complete({integer_spec(), real_spec(), text_spec()}, {});
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(done->integer("k"), 2);
  EXPECT_EQ(done->real("share"), 0.5);
  EXPECT_EQ(done->text("heads"), "shared");
}

TEST(complete, keeps_given_values) {
  option_set given;
  given.set("k", std::int64_t{5});
  const auto done = complete({integer_spec(), real_spec()}, given);
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(done->integer("k"), 5);
  EXPECT_EQ(done->real("share"), 0.5);
}

TEST(complete, refuses_unknown_names) {
  option_set given;
  given.set("kk", std::int64_t{5});
  const auto done = complete({integer_spec()}, given);
  ASSERT_EQ(done.code(), errc::invalid_argument);
  EXPECT_NE(done.error().what.find("kk"), std::string::npos);
}

TEST(complete, refuses_bad_values) {
  option_set given;
  given.set("k", std::int64_t{50});
  EXPECT_EQ(complete({integer_spec()}, given).code(), errc::invalid_argument);
}

TEST(option_set, reads_an_integer_as_real) {
  option_set x;
  x.set("share", std::int64_t{1});
  EXPECT_EQ(x.real("share"), 1.0);
}

TEST(option_value, reads_as_text) {
  EXPECT_EQ(to_string(option_value{true}), "true");
  EXPECT_EQ(to_string(option_value{std::int64_t{-3}}), "-3");
  EXPECT_EQ(to_string(option_value{0.125}), "0.125");
  EXPECT_EQ(to_string(option_value{std::string{"own"}}), "own");
}

TEST(option_type, names) {
  EXPECT_EQ(to_string(option_type::boolean), "boolean");
  EXPECT_EQ(to_string(option_type::duration), "duration");
}

} // namespace
} // namespace pikv
