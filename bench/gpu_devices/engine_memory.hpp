// SPDX-License-Identifier: Apache-2.0
/// \file
/// Buffers where an engine has them: in the memory of the host or of the current GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace pikv::bench {

/// Zeros. Ends the program when the backend is not in this build or has no room.
std::shared_ptr<std::byte> engine_memory(bool on_gpu, std::size_t bytes);

/// A copy of `values`.
std::shared_ptr<std::byte> engine_memory(bool on_gpu, std::span<const std::uint16_t> values);

} // namespace pikv::bench
