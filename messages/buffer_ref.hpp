// SPDX-License-Identifier: Apache-2.0
/// \file
/// Names of memory that travel in messages instead of the memory itself.
#pragma once

#include <cstdint>
#include <string_view>

#include <pikv/messages/types.hpp>

namespace pikv {

/// Which arena of a device a buffer lies in (gpu/device.hpp).
enum class arena_kind : std::uint8_t { memory, scratch, exchange };

constexpr std::string_view to_string(arena_kind x) noexcept {
  return x == arena_kind::memory ? "memory" : x == arena_kind::scratch ? "scratch" : "exchange";
}

/// An allocation by name. The generation changes whenever the slot is handed out anew, so that a
/// stale reference is an error and never someone else's data.
struct buffer_ref {
  device_id device{};
  arena_kind arena = arena_kind::memory;
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
  std::uint64_t bytes = 0;
  friend bool operator==(const buffer_ref&, const buffer_ref&) = default;
};

} // namespace pikv
