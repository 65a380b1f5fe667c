// SPDX-License-Identifier: Apache-2.0
/// \file
/// The actor that encodes pages of one device on its codec stream.
#pragma once

#include <pikv/actors/context.hpp>
#include <pikv/messages/actors.hpp>

namespace pikv {

/// Pages and targets are named by reference; while the stream works on them it shares the blocks,
/// so neither the owner's death nor this actor's frees memory that is being written.
compressor_actor spawn_compressor(caf::actor_system& system, context_ptr context, device_id device);

} // namespace pikv
