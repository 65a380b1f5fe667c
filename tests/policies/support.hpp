// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the tests of all kinds of policies share.
#pragma once

#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <pikv/policies/table.hpp>

namespace pikv::policies::testing {

inline policy_context context(std::uint32_t shards = 8, std::uint32_t experts = 8) {
  return {.layers = 4, .kv_heads = 2, .experts = experts, .shards = shards, .page_tokens = 16};
}

using given_options = std::vector<std::pair<std::string, option_value>>;

inline policy_choice choose(std::string name, const given_options& options = {}) {
  policy_choice out{std::move(name), {}};
  for (const auto& [key, value] : options)
    out.options.set(key, value);
  return out;
}

/// The policy, or a failed test and null.
template <class Policy>
std::unique_ptr<Policy> must_make(std::span<const table_entry<Policy>> table, std::string name,
                                  const given_options& options = {},
                                  const policy_context& given = context()) {
  auto made = make(table, choose(std::move(name), options), given);
  EXPECT_TRUE(made.ok()) << made.error().what;
  return made ? std::move(*made) : nullptr;
}

/// Values that an option must refuse: of another type, out of range, not finite, not a choice.
inline std::vector<option_value> bad_values(const option_spec& spec) {
  std::vector<option_value> out;
  const auto inf = std::numeric_limits<double>::infinity();
  const auto nan = std::numeric_limits<double>::quiet_NaN();
  for (const double x : {nan, inf, -inf})
    out.emplace_back(x);
  if (spec.type != option_type::boolean)
    out.emplace_back(true);
  if (spec.type != option_type::text)
    out.emplace_back(std::string{"1"});
  else
    out.emplace_back(std::string{"no_such_choice"});
  if (spec.type == option_type::integer || spec.type == option_type::real) {
    EXPECT_TRUE(spec.min && spec.max) << spec.name << " has no range";
    out.emplace_back(static_cast<std::int64_t>(*spec.min) - 1);
    out.emplace_back(static_cast<std::int64_t>(*spec.max) + 1);
  }
  return out;
}

} // namespace pikv::policies::testing
