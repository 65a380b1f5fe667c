// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/scheduling/scheduling_policy.hpp>

#include <pikv/policies/define_table.hpp>

// One line per policy.
// clang-format off
#define PIKV_SCHEDULING_POLICIES(policy) \
  policy(scheduling, lru) \
  policy(scheduling, lru_plus) \
  policy(scheduling, lfu) \
  policy(scheduling, h2o) \
  policy(scheduling, streaming) \
  policy(scheduling, tova) \
  policy(scheduling, snap) \
  policy(scheduling, expected_attention) \
  policy(scheduling, key_norm) \
  policy(scheduling, key_diff) \
  policy(scheduling, quest) \
  policy(scheduling, flexgen) \
  policy(scheduling, belady)
// clang-format on

PIKV_DEFINE_TABLE(scheduling, PIKV_SCHEDULING_POLICIES)
