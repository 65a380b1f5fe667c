// SPDX-License-Identifier: Apache-2.0
/// \file
/// Routing and selection as plain rules, for backends that choose pages where the scores are. A
/// policy that can be said as a rule gives it (`rule()` in policies/routing and
/// policies/selection); for others the policy object chooses on the host.
#pragma once

#include <cstdint>

namespace pikv {

/// Which shards a row reads, as the routing policies of these names.
enum class route_kind : std::uint8_t { all, gate_top_k, mass };

struct route_rule {
  route_kind kind = route_kind::all;
  std::uint32_t k = 0; ///< experts (gate_top_k) or shards (mass) to read
};

/// How many old pages a list holds: min(pages, eligible) where `pages` > 0, else the share of the
/// eligible ones rounded up.
struct select_budget {
  std::uint32_t pages = 0;
  double share = 0.125;
};

/// Where one device's pages of a sequence stand among those of all devices that choose together:
/// device after device, each in ascending positions.
struct gather_place {
  std::uint32_t begin = 0;    ///< place of the device's first page
  std::uint32_t capacity = 0; ///< places that it has; those it does not need stay empty
  std::uint32_t pages = 0;    ///< places of all devices
};

/// What one row reads of its old pages in one scope.
struct choice_total {
  std::uint32_t pages = 0;         ///< chosen; of a gathered choice: those of this device
  std::uint32_t tokens = 0;        ///< in all chosen pages
  std::uint32_t routed_tokens = 0; ///< in the old pages inside the route
  std::uint32_t routed_shards = 0; ///< shards in the row's route
};

} // namespace pikv
