// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/routing/routing_policy.hpp>

#include <pikv/policies/define_table.hpp>

// One line per policy.
// clang-format off
#define PIKV_ROUTING_POLICIES(policy) \
  policy(routing, all) \
  policy(routing, gate_top_k) \
  policy(routing, mass)
// clang-format on

PIKV_DEFINE_TABLE(routing, PIKV_ROUTING_POLICIES)
