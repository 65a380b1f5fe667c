// SPDX-License-Identifier: Apache-2.0
/// \file
/// The actor that starts the graph of a cache, restarts what dies and cleans up behind it.
#pragma once

#include <pikv/actors/context.hpp>
#include <pikv/messages/actors.hpp>

namespace pikv {

/// Starts owners, compressors, routers, the transfer and the scheduler and enters them into the
/// context's directories before it returns. When one dies:
///   shard owner  a new one with empty tables; its pages count as lost
///   router       a new one; its sequences are lost (errc::sequence_lost), owners drop their pages
///   scheduler    a new one, to which the owners announce what they hold
///   compressor, transfer  a new one; pages on the way stay raw and where they were
supervisor_actor spawn_supervisor(caf::actor_system& system, context_ptr context);

} // namespace pikv
