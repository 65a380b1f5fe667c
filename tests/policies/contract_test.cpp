// SPDX-License-Identifier: Apache-2.0
// What holds for every policy of every kind.
#include <fmt/format.h>

#include <pikv/policies/budget/budget_policy.hpp>
#include <pikv/policies/compression/compression_policy.hpp>
#include <pikv/policies/placement/placement_policy.hpp>
#include <pikv/policies/routing/routing_policy.hpp>
#include <pikv/policies/scheduling/scheduling_policy.hpp>
#include <pikv/policies/selection/selection_policy.hpp>

#include "support.hpp"

namespace pikv::policies::testing {
namespace {

// A kind's make() without its type.
using maker = result<void> (*)(const policy_choice&);

template <class Policy, auto Table>
result<void> try_make(const policy_choice& choice) {
  auto made = make(Table(), choice, context());
  if (!made)
    return made.error();
  EXPECT_NE(made->get(), nullptr);
  return {};
}

maker maker_of(const std::string& kind) {
  if (kind == "placement")
    return try_make<placement_policy, placement_table>;
  if (kind == "routing")
    return try_make<routing_policy, routing_table>;
  if (kind == "selection")
    return try_make<selection_policy, selection_table>;
  if (kind == "compression")
    return try_make<compression_policy, compression_table>;
  if (kind == "budget")
    return try_make<budget_policy, budget_table>;
  return try_make<scheduling_policy, scheduling_table>;
}

struct named_policy {
  std::string kind;
  policy_info info;
};

std::vector<named_policy> all_policies() {
  std::vector<named_policy> out;
  for (const auto& kind : catalog())
    for (const auto& info : kind.policies)
      out.push_back({kind.kind, info});
  return out;
}

class policy_contract : public ::testing::TestWithParam<named_policy> {
protected:
  result<void> try_option(const std::string& name, const option_value& value) const {
    return maker_of(GetParam().kind)(choose(GetParam().info.name, {{name, value}}));
  }
};

TEST_P(policy_contract, is_made_from_its_defaults) {
  EXPECT_TRUE(maker_of(GetParam().kind)(choose(GetParam().info.name)).ok());
}

TEST_P(policy_contract, has_help_in_one_line) {
  EXPECT_FALSE(GetParam().info.help.empty());
  EXPECT_EQ(GetParam().info.help.find('\n'), std::string::npos);
}

TEST_P(policy_contract, options_have_help_and_valid_defaults) {
  for (const auto& spec : GetParam().info.options) {
    EXPECT_FALSE(spec.help.empty()) << spec.name;
    EXPECT_TRUE(check(spec, spec.fallback).ok()) << spec.name;
  }
}

TEST_P(policy_contract, bounds_of_options_are_accepted) {
  for (const auto& spec : GetParam().info.options) {
    for (const auto& bound : {spec.min, spec.max}) {
      if (!bound)
        continue;
      const auto value = spec.type == option_type::real
                             ? option_value{*bound}
                             : option_value{static_cast<std::int64_t>(*bound)};
      EXPECT_TRUE(try_option(spec.name, value).ok()) << spec.name << " " << *bound;
    }
    for (const auto& choice : spec.choices)
      EXPECT_TRUE(try_option(spec.name, choice).ok()) << spec.name << " " << choice;
  }
}

TEST_P(policy_contract, bad_values_are_refused_by_name_of_the_option) {
  for (const auto& spec : GetParam().info.options)
    for (const auto& value : bad_values(spec)) {
      const auto made = try_option(spec.name, value);
      ASSERT_FALSE(made.ok()) << spec.name << " took " << to_string(value);
      EXPECT_TRUE(made.code() == errc::invalid_argument || made.code() == errc::not_finite);
      EXPECT_NE(made.error().what.find(spec.name), std::string::npos) << made.error().what;
    }
}

TEST_P(policy_contract, unknown_options_are_refused) {
  const auto made = try_option("no_such_option", std::int64_t{1});
  EXPECT_EQ(made.code(), errc::invalid_argument);
}

TEST_P(policy_contract, a_mistyped_name_is_unknown_and_the_nearest_is_named) {
  const auto made = maker_of(GetParam().kind)(choose(GetParam().info.name + "x"));
  ASSERT_EQ(made.code(), errc::unknown_policy);
  const auto named = fmt::format("did you mean \"{}\"", GetParam().info.name);
  EXPECT_NE(made.error().what.find(named), std::string::npos) << made.error().what;
}

INSTANTIATE_TEST_SUITE_P(every, policy_contract, ::testing::ValuesIn(all_policies()),
                         [](const auto& x) { return x.param.kind + "_" + x.param.info.name; });

} // namespace
} // namespace pikv::policies::testing
