// SPDX-License-Identifier: Apache-2.0
/// \file
/// The stream scheduler: keeps the budgets of layers and devices by letting the least useful
/// settled pages go. It knows pages by name and use only; owners do what it says.
#pragma once

#include <pikv/actors/context.hpp>
#include <pikv/messages/actors.hpp>

namespace pikv {

scheduler_actor spawn_scheduler(caf::actor_system& system, context_ptr context);

} // namespace pikv
