// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/placement/placement_policy.hpp>

#include <pikv/policies/define_table.hpp>

// One line per policy.
// clang-format off
#define PIKV_PLACEMENT_POLICIES(policy) \
  policy(placement, stripe) \
  policy(placement, hash) \
  policy(placement, gate) \
  policy(placement, cluster) \
  policy(placement, eplb)
// clang-format on

PIKV_DEFINE_TABLE(placement, PIKV_PLACEMENT_POLICIES)
