// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/budget/budget_policy.hpp>

#include <pikv/policies/define_table.hpp>

// One line per policy.
// clang-format off
#define PIKV_BUDGET_POLICIES(policy) \
  policy(budget, uniform) \
  policy(budget, pyramid) \
  policy(budget, layer_mass)
// clang-format on

PIKV_DEFINE_TABLE(budget, PIKV_BUDGET_POLICIES)
