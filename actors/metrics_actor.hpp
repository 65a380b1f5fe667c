// SPDX-License-Identifier: Apache-2.0
/// \file
/// The actor that makes the others report: on every tick it asks the supervisor (and through it all
/// of the graph) and the config watcher to flush what they have counted.
#pragma once

#include <chrono>

#include <pikv/messages/actors.hpp>
#include <pikv/monitoring/metrics.hpp>

namespace pikv {

/// Ticks until it is told to exit. `supervisor` may be null while no cache is open.
metrics_actor spawn_metrics(caf::actor_system& system, std::shared_ptr<monitoring::metrics> metrics,
                            supervisor_actor supervisor, config_watcher_actor watcher,
                            std::chrono::milliseconds interval);

} // namespace pikv
