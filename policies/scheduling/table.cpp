// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/scheduling/scheduling_policy.hpp>

#include <pikv/policies/define_table.hpp>

// One line per policy.
// clang-format off
#define PIKV_SCHEDULING_POLICIES(policy) \
  policy(scheduling, lru) \
  policy(scheduling, h2o) \
  policy(scheduling, streaming)
// clang-format on

PIKV_DEFINE_TABLE(scheduling, PIKV_SCHEDULING_POLICIES)
