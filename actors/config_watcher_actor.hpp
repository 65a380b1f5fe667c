// SPDX-License-Identifier: Apache-2.0
/// \file
/// The actor through which every new configuration passes, one at a time.
#pragma once

#include <memory>

#include <pikv/actors/config_state.hpp>
#include <pikv/messages/actors.hpp>
#include <pikv/monitoring/metrics.hpp>

namespace pikv {

/// What the actor needs; `apply` puts checked settings in force.
struct config_watcher_options {
  std::shared_ptr<config_state> state;
  config_state::applier apply;
  std::shared_ptr<monitoring::metrics> metrics;
};

config_watcher_actor spawn_config_watcher(caf::actor_system& system,
                                          config_watcher_options options);

} // namespace pikv
