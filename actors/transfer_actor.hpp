// SPDX-License-Identifier: Apache-2.0
/// \file
/// The actor that moves pages between devices of this process (`local` transport).
#pragma once

#include <pikv/actors/context.hpp>
#include <pikv/messages/actors.hpp>

namespace pikv {

/// Copies on the target's copy stream, compares checksums (XXH3) of what was read and what has
/// arrived, and answers only when the target's owner has adopted the pages. On any failure nothing
/// is adopted and the source keeps its pages.
transfer_actor spawn_transfer(caf::actor_system& system, context_ptr context);

} // namespace pikv
