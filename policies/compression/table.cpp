// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/compression/compression_policy.hpp>

#include <pikv/policies/define_table.hpp>

// One line per policy.
// clang-format off
#define PIKV_COMPRESSION_POLICIES(policy) \
  policy(compression, identity) \
  policy(compression, int8) \
  policy(compression, int4) \
  policy(compression, int3) \
  policy(compression, int2) \
  policy(compression, mixed) \
  policy(compression, fp8)
// clang-format on

PIKV_DEFINE_TABLE(compression, PIKV_COMPRESSION_POLICIES)
