// SPDX-License-Identifier: Apache-2.0
/// \file
/// Marks memory that nobody may touch, for AddressSanitizer builds; nothing elsewhere.
#pragma once

#include <cstddef>

#if __has_include(<sanitizer/asan_interface.h>)
#include <sanitizer/asan_interface.h>
#endif

namespace pikv::gpu::detail {

inline void poison([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef ASAN_POISON_MEMORY_REGION
  ASAN_POISON_MEMORY_REGION(data, bytes);
#endif
}

inline void unpoison([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef ASAN_UNPOISON_MEMORY_REGION
  ASAN_UNPOISON_MEMORY_REGION(data, bytes);
#endif
}

} // namespace pikv::gpu::detail
