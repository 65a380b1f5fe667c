// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/routing/routing_policy.hpp>

#include <pikv/policies/define_table.hpp>

// One line per policy.
// clang-format off
#define PIKV_ROUTING_POLICIES(policy) \
  policy(routing, all) \
  policy(routing, gate_top_k) \
  policy(routing, mass) \
  policy(routing, adaptive) \
  policy(routing, hybrid) \
  policy(routing, balanced) \
  policy(routing, cache_aware) \
  policy(routing, hierarchical) \
  policy(routing, eplb)
// clang-format on

PIKV_DEFINE_TABLE(routing, PIKV_ROUTING_POLICIES)
