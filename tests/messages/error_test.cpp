// SPDX-License-Identifier: Apache-2.0
#include <pikv/messages/error.hpp>

#include <memory>
#include <set>

#include <gtest/gtest.h>

namespace pikv {
namespace {

constexpr auto last_code = errc::internal;

TEST(errc, every_code_has_its_own_name) {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(last_code); ++i)
    names.insert(to_string(static_cast<errc>(i)));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(last_code) + 1);
  EXPECT_FALSE(names.contains("unknown"));
}

TEST(errc, a_value_outside_the_enumeration_is_unknown) {
  EXPECT_EQ(to_string(static_cast<errc>(static_cast<int>(last_code) + 1)), "unknown");
}

TEST(errc, only_passing_states_are_retryable) {
  std::set<errc> found;
  for (int i = 0; i <= static_cast<int>(last_code); ++i)
    if (retryable(static_cast<errc>(i)))
      found.insert(static_cast<errc>(i));
  EXPECT_EQ(found, (std::set<errc>{errc::over_budget, errc::overloaded, errc::deadline_exceeded,
                                   errc::actor_down}));
}

TEST(error, reads_as_code_and_sentence) {
  EXPECT_EQ(to_string(error{errc::over_budget, "close a sequence"}),
            "over_budget: close a sequence");
}

TEST(error, without_a_sentence_reads_as_its_code) {
  EXPECT_EQ(to_string(error{errc::cancelled, ""}), "cancelled");
}

TEST(result, holds_a_value) {
  const result<int> x = 7;
  ASSERT_TRUE(x.ok());
  EXPECT_EQ(*x, 7);
  EXPECT_EQ(x.code(), errc::ok);
}

TEST(result, holds_an_error) {
  const result<int> x{errc::out_of_range, "layer 9"};
  ASSERT_FALSE(x);
  EXPECT_EQ(x.code(), errc::out_of_range);
  EXPECT_EQ(x.error().what, "layer 9");
}

TEST(result, passes_an_error_on_to_another_type) {
  const result<int> x{errc::io_failed, "disk"};
  const result<std::string> y = x.error();
  EXPECT_EQ(y.code(), errc::io_failed);
}

TEST(result, of_void_is_good_by_default) {
  const result<void> x;
  EXPECT_TRUE(x.ok());
}

TEST(result, of_void_holds_an_error) {
  const result<void> x{errc::internal, "bug"};
  EXPECT_EQ(x.code(), errc::internal);
}

TEST(result, moves_a_value_out) {
  result<std::unique_ptr<int>> x = std::make_unique<int>(3);
  const auto value = *std::move(x);
  EXPECT_EQ(*value, 3);
}

TEST(result, of_a_string_takes_a_literal_as_the_value) {
  const result<std::string> x = "text";
  ASSERT_TRUE(x.ok());
  EXPECT_EQ(x->size(), 4u);
}

} // namespace
} // namespace pikv
