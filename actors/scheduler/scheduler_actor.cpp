// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/scheduler/scheduler_actor.hpp>

#include <map>
#include <optional>
#include <stdexcept>

#include <caf/actor_system.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>

#include <pikv/actors/jobs.hpp>
#include <pikv/actors/scheduler/ghosts.hpp>
#include <pikv/actors/scheduler/layer_shares.hpp>
#include <pikv/actors/scheduler/page_ledger.hpp>
#include <pikv/actors/shard_owner/geometry.hpp>
#include <pikv/messages/caf_error.hpp>

namespace pikv {

namespace {

struct scheduler_state {
  scheduler_state() = default;
  static inline const char* name = "stream_scheduler";

  context_ptr context;
  page_geometry geometry;
  page_ledger ledger;
  layer_shares shares;
  ghost_set ghosts;
  std::uint64_t ghosts_version = 0; ///< of the configuration that they follow
  std::optional<monitoring::scheduler_probe> probe;
  std::optional<monitoring::actor_probe> actor_probe;
};

using self_pointer = scheduler_actor::stateful_pointer<scheduler_state>;

/// Orders the evictions and calls `done(pages evicted)` when every owner has answered.
void evict(self_pointer self, const std::vector<victim>& victims, evict_reason reason,
           std::function<void(std::uint64_t)> done) {
  std::map<std::tuple<device_id, sequence_id, std::uint32_t>, evict_work> orders;
  for (const auto& v : victims) {
    auto& w = orders[{v.device, v.sequence, v.layer}];
    w.reason = reason;
    w.layer = v.layer;
    w.sequence = v.sequence;
    w.pages.push_back(v.page);
  }
  if (orders.empty())
    return done(0);
  auto& context = *self->state.context;
  if (auto p = context.policies.current())
    self->state.probe->eviction_ordered(p->settings.scheduling.name, victims.size());
  struct progress {
    std::size_t waiting = 0;
    std::uint64_t pages = 0;
  };
  auto x = std::make_shared<progress>();
  x->waiting = orders.size();
  auto answered = [x, done](std::uint64_t pages) {
    x->pages += pages;
    if (--x->waiting == 0)
      done(x->pages);
  };
  for (auto& [key, w] : orders)
    self->request(context.owners.get(std::get<device_id>(key).value).handle,
                  context.settings.limits.deadline, std::move(w))
        .then([answered](const reclaim_done& r) { answered(r.pages); },
              [answered](const caf::error&) { answered(0); });
}

/// The ghosts of the configuration in force.
void follow_ghosts(scheduler_state& s) {
  auto p = s.context->policies.current();
  if (!p || p->version == s.ghosts_version)
    return;
  s.ghosts_version = p->version;
  s.ghosts.follow(std::move(p), s.ledger);
}

caf::result<ack_atom> settled(self_pointer self, const settled_event& e) {
  auto& s = self->state;
  follow_ghosts(s); // before the ledger changes, for ghosts that begin with it
  auto policies = s.context->policies.find(e.config_version);
  const auto limit = policies ? policies->budget->entries({e.layer, e.entries, s.shares.in_force()})
                              : policies::unlimited_entries;
  s.ghosts.settled(e, s.geometry, limit);
  s.ledger.settled(e, s.geometry.sinks);
  if (!policies || e.entries == 0)
    return ack_atom_v;
  auto over = pages_over_budget(s.ledger, s.geometry, e, limit);
  if (over == 0)
    return ack_atom_v;
  auto p = self->make_response_promise<ack_atom>();
  evict(self, s.ledger.take_lowest(e.sequence, e.layer, over, *policies->scheduling),
        evict_reason::budget,
        [owed = owed_answer<ack_atom>{p}](std::uint64_t) mutable { owed.deliver(ack_atom_v); });
  return p;
}

caf::result<reclaim_done> reclaim(self_pointer self, const reclaim_work& w) {
  auto& s = self->state;
  auto policies = s.context->policies.current();
  if (!policies)
    return reclaim_done{};
  auto p = self->make_response_promise<reclaim_done>();
  // Encoded pages are smaller: count with the smallest, and make some extra room, so that a full
  // device does not come back for every append.
  const auto& memory = s.context->devices[w.device.value].device->memory();
  auto bytes = std::max<std::uint64_t>(w.bytes, memory.usage().capacity / 64);
  const auto bytes_as = [&](form x) { return gpu::layout_of(s.context->dims, x).page_bytes; };
  const auto page = policies->compression->keeps_raw()
                        ? bytes_as(s.context->raw)
                        : std::min(bytes_as(form::int4),
                                   bytes_as(policies->compression->choose({}, s.context->raw)));
  const auto victims =
      s.ledger.take_lowest(w.device, (bytes + page - 1) / page, *policies->scheduling);
  s.ghosts.reclaimed(w.device, victims.size());
  evict(self, victims, evict_reason::pressure,
        [owed = owed_answer<reclaim_done>{p}](std::uint64_t pages) mutable {
          owed.deliver(reclaim_done{pages});
        });
  return p;
}

void attended(scheduler_state& s, const attended_event& e) {
  s.shares.attended(e);
  const auto count =
      s.ledger.attended(e, [&s](std::uint64_t ticks) { s.probe->reuse_distance(ticks); });
  s.probe->evicted_then_wanted(count.missed);
  s.ghosts.attended(e, [&s](std::string_view name, const use_count& x) {
    s.probe->ghost_reads(name, x.kept, x.missed);
  });
}

void sequence_changed(page_ledger& ledger, const sequence_work& w) {
  switch (w.verb) {
  case sequence_verb::open: break;
  case sequence_verb::fork: ledger.fork(w.sequence, w.child); break;
  case sequence_verb::close: ledger.close(w.sequence); break;
  case sequence_verb::pin: ledger.pin(w.sequence, true); break;
  case sequence_verb::unpin: ledger.pin(w.sequence, false); break;
  }
}

/// Changes the live ledger and those of the ghosts alike.
template <class Change>
void everywhere(scheduler_state& s, Change&& change) {
  change(s.ledger);
  s.ghosts.each(change);
}

scheduler_actor::behavior_type behaviour(self_pointer self, context_ptr context) {
  auto& s = self->state;
  const auto& cache = context->settings.cache;
  s.geometry = {cache.sinks, cache.page_tokens, cache.window};
  s.ledger = page_ledger{cache.page_tokens};
  s.shares = layer_shares{context->shape.layers};
  s.probe = context->metrics->scheduler();
  s.actor_probe = context->metrics->actor(monitoring::actor_kind::stream_scheduler, 0);
  s.context = std::move(context);
  return {
      [=](const settled_event& e) { return settled(self, e); },
      [=](const attended_event& e) { attended(self->state, e); },
      [=](const reclaim_work& w) { return reclaim(self, w); },
      [=](const sequence_work& w) {
        everywhere(self->state, [&](page_ledger& x) { sequence_changed(x, w); });
      },
      [=](forget_atom, device_id device) {
        everywhere(self->state, [&](page_ledger& x) { x.forget_device(device); });
      },
      [=](drop_lane_atom, lane_id lane) {
        auto& state = self->state;
        everywhere(state, [&](page_ledger& l) {
          l.close_if([&](sequence_id x) { return state.context->lane_of(x) == lane; });
        });
      },
      [=](tick_atom) {
        follow_ghosts(self->state);
        self->state.actor_probe->mailbox_depth(self->mailbox().size());
        self->state.probe->flush();
      },
      [=](crash_atom) { throw std::runtime_error("crash asked for by a test"); },
  };
}

} // namespace

scheduler_actor spawn_scheduler(caf::actor_system& system, context_ptr context) {
  return system.spawn(behaviour, std::move(context));
}

} // namespace pikv
