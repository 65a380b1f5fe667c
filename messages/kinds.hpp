// SPDX-License-Identifier: Apache-2.0
/// \file
/// Names of what clients ask for and of why pages go, shared by messages and metrics.
#pragma once

#include <cstdint>
#include <string_view>

namespace pikv {

/// What a client asks a router for.
enum class request_kind : std::uint8_t {
  append,
  annotate,
  attend,
  open,
  fork,
  close,
  pin,
  unpin,
  usage
};

/// Why pages are dropped although their sequence is open.
enum class evict_reason : std::uint8_t {
  budget,   ///< a layer kept more entries than its budget
  pressure, ///< the device was short of memory
  ring,     ///< the shard's ring was full
};

std::string_view to_string(request_kind x) noexcept;
std::string_view to_string(evict_reason x) noexcept;

} // namespace pikv
