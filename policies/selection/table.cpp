// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/selection/selection_policy.hpp>

#include <pikv/policies/define_table.hpp>

// One line per policy.
// clang-format off
#define PIKV_SELECTION_POLICIES(policy) \
  policy(selection, all) \
  policy(selection, mass) \
  policy(selection, quest)
// clang-format on

PIKV_DEFINE_TABLE(selection, PIKV_SELECTION_POLICIES)
