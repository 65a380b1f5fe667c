// SPDX-License-Identifier: Apache-2.0
/// \file
/// The actor that owns one device's pages. See state.hpp for what it knows.
#pragma once

#include <pikv/actors/context.hpp>
#include <pikv/messages/actors.hpp>

namespace pikv {

/// Starts the owner of a device. Its streams and arenas belong to the context, so a successor can
/// go on with them; the pages themselves die with the actor.
shard_owner_actor spawn_shard_owner(caf::actor_system& system, context_ptr context,
                                    device_id device);

} // namespace pikv
