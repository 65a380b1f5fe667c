// SPDX-License-Identifier: Apache-2.0
#include "random_settings.hpp"

namespace pikv::config::testing {
namespace {

TEST(round_trip, of_random_settings_through_yaml_changes_nothing) {
  generator random(1);
  for (int i = 0; i < 2000; ++i) {
    const auto x = random_settings(random);
    ASSERT_TRUE(validate(x, all_policies()).ok()) << validate(x, all_policies()).error().what;
    const auto text = to_yaml(x, all_policies(), random() % 2 == 0);
    const auto y = read(text);
    ASSERT_TRUE(y.ok()) << y.error().what << "\n" << text;
    ASSERT_EQ(changed_keys(x, *y), std::vector<std::string>{}) << text;
  }
}

TEST(round_trip, of_options_given_as_their_defaults_gives_the_same_text) {
  generator random(2);
  for (int i = 0; i < 200; ++i) {
    auto x = random_settings(random);
    for (const auto& part : sections())
      if (part.policy != nullptr) {
        auto& choice = x.*part.policy;
        const auto& kind = *find_kind(all_policies(), part.name);
        choice.options = *complete(find_policy(kind, choice.name)->options, choice.options);
      }
    const auto text = to_yaml(x, all_policies());
    EXPECT_EQ(to_yaml(must_read(text), all_policies()), text);
  }
}

TEST(round_trip, changed_keys_see_each_difference_of_random_settings) {
  generator random(3);
  for (int i = 0; i < 200; ++i) {
    const auto x = random_settings(random);
    const auto y = random_settings(random);
    EXPECT_EQ(changed_keys(x, y).empty(), to_yaml(x, all_policies()) == to_yaml(y, all_policies()));
    EXPECT_EQ(changed_keys(x, y), changed_keys(y, x));
  }
}

} // namespace
} // namespace pikv::config::testing
