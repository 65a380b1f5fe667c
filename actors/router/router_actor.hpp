// SPDX-License-Identifier: Apache-2.0
/// \file
/// The actor that plans the work of one lane. See state.hpp.
#pragma once

#include <pikv/actors/context.hpp>
#include <pikv/messages/actors.hpp>

namespace pikv {

/// Starts the router of a lane with no sequences. Sequences with an id below the context's next one
/// belonged to a predecessor and are answered with errc::sequence_lost.
router_actor spawn_router(caf::actor_system& system, context_ptr context, lane_id lane);

} // namespace pikv
