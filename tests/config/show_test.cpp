// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <pikv/config/schema.hpp>

#include "support.hpp"

namespace pikv::config::testing {
namespace {

TEST(to_yaml, shows_values_with_units) {
  const auto text = to_yaml({}, all_policies(), false);
  EXPECT_NE(text.find("devices:\n  backend: host\n  count: 1\n  threads: 0\n  memory: 1GiB\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("  deadline: 30s\n"), std::string::npos);
}

TEST(to_yaml, shows_every_key) {
  const auto text = to_yaml({}, all_policies(), false);
  for (const auto& part : sections()) {
    EXPECT_NE(text.find(part.name + ":\n"), std::string::npos) << part.name;
    for (const auto& key : part.keys)
      EXPECT_NE(text.find("  " + std::string{part.leaf(key)} + ": "), std::string::npos)
          << key.spec.name;
  }
}

TEST(to_yaml, shows_options_that_were_not_given) {
  settings x;
  x.selection.name = "mass";
  EXPECT_NE(
      to_yaml(x, all_policies(), false)
          .find("selection:\n  policy: mass\n  heads: per_kv_head\n  share: 0.125\n  pages: 0"),
      std::string::npos);
}

TEST(to_yaml, has_one_comment_for_each_key) {
  const auto text = to_yaml({}, all_policies(), true);
  const auto plain = to_yaml({}, all_policies(), false);
  // Every line that is not blank, key or section, has one.
  EXPECT_EQ(std::ranges::count(text, '#'), std::ranges::count(plain, '\n'));
}

TEST(to_yaml, says_what_is_allowed_and_when_it_changes) {
  const auto text = to_yaml({}, all_policies());
  EXPECT_NE(text.find("  # logical devices; allowed: from 1 to 64; restart\n  count: 1\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("allowed: all, mass, quest; live\n  policy: all\n"), std::string::npos);
}

TEST(to_yaml, quotes_text_that_needs_it) {
  settings x;
  x.metrics.address = "::1";
  EXPECT_NE(to_yaml(x, all_policies()).find("  address: \"::1\"\n"), std::string::npos);
}

TEST(reference, names_every_key_policy_and_option) {
  const auto text = reference(all_policies());
  for (const auto& part : sections())
    for (const auto& key : part.keys)
      EXPECT_NE(text.find("| `" + key.spec.name + "` |"), std::string::npos) << key.spec.name;
  for (const auto& kind : all_policies())
    for (const auto& policy : kind.policies) {
      EXPECT_NE(text.find("- `" + policy.name + "`: "), std::string::npos) << policy.name;
      for (const auto& spec : policy.options)
        EXPECT_NE(text.find("| `" + kind.kind + "." + spec.name + "` |"), std::string::npos);
    }
}

TEST(schema, every_default_is_allowed) { EXPECT_TRUE(validate({}, all_policies()).ok()); }

TEST(schema, every_policy_section_is_a_kind_of_the_catalog) {
  for (const auto& part : sections())
    EXPECT_EQ(find_kind(all_policies(), part.name) != nullptr, part.policy != nullptr) << part.name;
}

} // namespace
} // namespace pikv::config::testing
