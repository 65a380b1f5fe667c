// SPDX-License-Identifier: Apache-2.0
/// \file
/// The actor that moves pages between devices of this process.
#pragma once

#include <pikv/actors/context.hpp>
#include <pikv/messages/actors.hpp>

namespace pikv {

/// Has pages copied by the mover between the two devices (gpu/transport/page_mover.hpp), which
/// compares checksums of what was read and what has arrived, and answers only when the target's
/// owner has adopted the pages. On any failure, also when half of limits.deadline has passed,
/// nothing is adopted and the source keeps its pages.
transfer_actor spawn_transfer(caf::actor_system& system, context_ptr context);

} // namespace pikv
