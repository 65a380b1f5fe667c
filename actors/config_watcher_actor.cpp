// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/config_watcher_actor.hpp>

#include <cstdio>
#include <ctime>
#include <optional>

#include <caf/actor_system.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <pikv/config/config.hpp>
#include <pikv/policies/table.hpp>

namespace pikv {

namespace {

struct watcher_state {
  watcher_state() = default;
  static inline const char* name = "config_watcher";

  config_watcher_options options;
  std::optional<monitoring::config_probe> probe;
  std::optional<monitoring::actor_probe> actor_probe;
};

using self_pointer = config_watcher_actor::stateful_pointer<watcher_state>;

double unix_now() { return static_cast<double>(std::time(nullptr)); }

result<std::uint64_t> reload(watcher_state& s, const reload_work& w) {
  auto& state = *s.options.state;
  if (w.source == reload_source::file && state.file().empty())
    return {errc::io_failed,
            "this runtime was not started from a file; reload with a text instead"};
  auto next = w.source == reload_source::file ? config::load(state.file(), policies::catalog())
                                              : config::parse(w.text, policies::catalog());
  if (!next)
    return next.error();
  return state.take(*next, s.options.apply);
}

void handle(watcher_state& s, const reload_work& w) {
  auto r = reload(s, w);
  auto outcome = r ? monitoring::reload_result::success : monitoring::reload_result::refused;
  s.probe->reload(outcome, s.options.state->version(), unix_now());
  if (w.ticket.value != 0)
    s.options.state->answer(w.ticket, std::move(r));
  else if (!r) // nobody waits for the answer: the operator reads the log
    std::fprintf(stderr, "pikv: configuration refused, version %llu stays in force: %s\n",
                 static_cast<unsigned long long>(s.options.state->version()),
                 to_string(r.error()).c_str());
}

config_watcher_actor::behavior_type behaviour(self_pointer self, config_watcher_options options) {
  auto& s = self->state;
  s.probe = options.metrics->config();
  s.actor_probe = options.metrics->actor(monitoring::actor_kind::config_watcher, 0);
  s.options = std::move(options);
  s.probe->loaded(s.options.state->version(), unix_now());
  return {
      [=](const reload_work& w) { handle(self->state, w); },
      [=](tick_atom) { self->state.actor_probe->mailbox_depth(self->mailbox().size()); },
  };
}

} // namespace

config_watcher_actor spawn_config_watcher(caf::actor_system& system,
                                          config_watcher_options options) {
  return system.spawn(behaviour, std::move(options));
}

} // namespace pikv
