// SPDX-License-Identifier: Apache-2.0
/// \file
/// The option `k` that routings to a fixed number of shards share.
#pragma once

#include <cstdint>

#include <pikv/policies/table.hpp>

namespace pikv::policies {

/// `k`: shards that a query reads.
inline option_spec width_option() {
  return {.name = "k",
          .type = option_type::integer,
          .fallback = std::int64_t{4},
          .help = "shards that a query reads",
          .min = 1,
          .max = 65536,
          .choices = {}};
}

} // namespace pikv::policies
