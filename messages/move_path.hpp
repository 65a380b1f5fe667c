// SPDX-License-Identifier: Apache-2.0
/// \file
/// What carries pages between the devices of one process.
#pragma once

#include <cstdint>

namespace pikv {

/// automatic: copies where GPUs reach each other's memory, NCCL where they do not. peer: such
/// copies only. nccl: NCCL only, also between two logical devices of one GPU.
enum class move_path : std::uint8_t { automatic, peer, nccl };

} // namespace pikv
