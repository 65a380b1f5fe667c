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

std::int64_t unix_now() { return static_cast<std::int64_t>(std::time(nullptr)); }

result<config::settings> asked_for(const config_state& state, const reload_work& w) {
  switch (w.source) {
  case reload_source::text: return config::parse(w.text, policies::catalog());
  case reload_source::previous:
    if (auto x = state.previous())
      return *x;
    return error{errc::invalid_argument,
                 "there is nothing to go back to: no change has been taken since the start"};
  case reload_source::file: break;
  }
  if (state.file().empty())
    return error{errc::io_failed,
                 "this runtime was not started from a file; reload with a text instead"};
  return config::load(state.file(), policies::catalog());
}

result<std::uint64_t> reload(watcher_state& s, const reload_work& w) {
  auto& state = *s.options.state;
  auto next = asked_for(state, w);
  if (!next)
    return next.error();
  return state.take(*next, s.options.apply);
}

void handle(watcher_state& s, const reload_work& w) {
  auto r = reload(s, w);
  s.options.state->remember(w.who.empty() ? "file" : w.who, unix_now(), r);
  auto outcome = r ? monitoring::reload_result::success : monitoring::reload_result::refused;
  s.probe->reload(outcome, s.options.state->version(), static_cast<double>(unix_now()));
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
  s.probe->loaded(s.options.state->version(), static_cast<double>(unix_now()));
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
