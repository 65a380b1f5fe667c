// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/metrics_actor.hpp>

#include <optional>

#include <caf/actor_system.hpp>
#include <caf/typed_event_based_actor.hpp>

namespace pikv {

namespace {

struct metrics_state {
  metrics_state() = default;
  static inline const char* name = "metrics";
  std::optional<monitoring::actor_probe> probe;
};

using self_pointer = metrics_actor::stateful_pointer<metrics_state>;

metrics_actor::behavior_type behaviour(self_pointer self,
                                       std::shared_ptr<monitoring::metrics> metrics,
                                       supervisor_actor supervisor, config_watcher_actor watcher,
                                       std::chrono::milliseconds interval) {
  self->state.probe = metrics->actor(monitoring::actor_kind::metrics, 0);
  self->delayed_send(self, interval, tick_atom_v);
  return {
      [=](tick_atom) {
        self->state.probe->mailbox_depth(self->mailbox().size());
        if (supervisor)
          self->send(supervisor, tick_atom_v);
        self->send(watcher, tick_atom_v);
        self->delayed_send(self, interval, tick_atom_v);
      },
  };
}

} // namespace

metrics_actor spawn_metrics(caf::actor_system& system, std::shared_ptr<monitoring::metrics> metrics,
                            supervisor_actor supervisor, config_watcher_actor watcher,
                            std::chrono::milliseconds interval) {
  return system.spawn(behaviour, std::move(metrics), std::move(supervisor), std::move(watcher),
                      interval);
}

} // namespace pikv
