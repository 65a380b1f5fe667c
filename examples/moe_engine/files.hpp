// SPDX-License-Identifier: Apache-2.0
/// \file
/// Whole files in memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <pikv/messages/error.hpp>

namespace pikv::moe_engine {

/// All bytes of a file. Errors: errc::io_failed. Blocks on the disk.
result<std::vector<std::uint8_t>> read_bytes(const std::string& path);

} // namespace pikv::moe_engine
