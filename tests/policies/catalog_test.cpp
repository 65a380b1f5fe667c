// SPDX-License-Identifier: Apache-2.0
#include <set>

#include <pikv/messages/nearest_name.hpp>

#include "support.hpp"

namespace pikv::policies::testing {
namespace {

std::vector<std::string> names(const policy_kind_info& kind) {
  std::vector<std::string> out;
  for (const auto& x : kind.policies)
    out.push_back(x.name);
  return out;
}

TEST(catalog, lists_all_kinds_with_help) {
  std::vector<std::string> kinds;
  for (const auto& x : catalog()) {
    kinds.push_back(x.kind);
    EXPECT_FALSE(x.help.empty());
    EXPECT_FALSE(x.policies.empty());
  }
  EXPECT_EQ(kinds, (std::vector<std::string>{"placement", "routing", "selection", "compression",
                                             "budget", "scheduling"}));
}

TEST(catalog, lists_the_policies_of_each_kind) {
  using list = std::vector<std::string>;
  const auto all = catalog();
  EXPECT_EQ(names(all[0]), (list{"stripe", "hash", "gate", "cluster", "eplb"}));
  EXPECT_EQ(names(all[1]), (list{"all", "gate_top_k", "mass", "adaptive", "hybrid", "balanced",
                                 "cache_aware", "hierarchical", "eplb"}));
  EXPECT_EQ(names(all[2]), (list{"all", "mass", "quest"}));
  EXPECT_EQ(names(all[3]), (list{"identity", "int8", "int4", "int3", "int2", "mixed", "fp8"}));
  EXPECT_EQ(names(all[4]), (list{"uniform", "pyramid", "layer_mass"}));
  EXPECT_EQ(names(all[5]), (list{"lru", "lru_plus", "lfu", "h2o", "streaming", "tova", "snap",
                                  "expected_attention", "key_norm", "key_diff", "quest", "flexgen",
                                  "belady"}));
}

TEST(catalog, names_are_unique_within_a_kind) {
  for (const auto& kind : catalog()) {
    const auto list = names(kind);
    EXPECT_EQ(std::set<std::string>(list.begin(), list.end()).size(), list.size()) << kind.kind;
  }
}

TEST(unknown_policy, lists_what_there_is) {
  const std::vector<std::string> known{"all", "mass", "quest"};
  const auto e = unknown_policy("quets", known);
  EXPECT_EQ(e.code, errc::unknown_policy);
  EXPECT_EQ(e.what,
            "there is no policy \"quets\"; did you mean \"quest\"? Allowed: all, mass, quest");
}

TEST(edit_distance, counts_insertions_deletions_and_replacements) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("abc", ""), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("routng", "routing"), 1u);
}

TEST(nearest_name, prefers_the_earlier_of_equals) {
  const std::vector<std::string> known{"ab", "ac"};
  EXPECT_EQ(nearest_name("ad", known), "ab");
}

TEST(nearest_name, is_empty_without_candidates) { EXPECT_EQ(nearest_name("x", {}), ""); }

} // namespace
} // namespace pikv::policies::testing
