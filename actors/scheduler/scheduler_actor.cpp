// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/scheduler/scheduler_actor.hpp>

#include <map>
#include <optional>
#include <stdexcept>

#include <caf/actor_system.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>

#include <pikv/actors/jobs.hpp>
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

/// How many pages of the (sequence, layer) exceed its budget.
std::size_t pages_over_budget(const scheduler_state& s, const settled_event& e,
                              const policies::budget_policy& budget) {
  const auto limit = budget.entries(e.layer, e.entries);
  // Counted as large as the window gets before the next page settles, so that the budget also holds
  // between settles.
  const auto window =
      std::uint64_t{s.geometry.window} + s.geometry.sinks + s.geometry.page_tokens - 1;
  const auto kept = s.ledger.kept_tokens(e.sequence, e.layer);
  if (kept + window <= limit)
    return 0;
  const auto over = std::min(kept, kept + window - limit);
  return (over + s.geometry.page_tokens - 1) / s.geometry.page_tokens;
}

caf::result<ack_atom> settled(self_pointer self, const settled_event& e) {
  auto& s = self->state;
  s.ledger.settled(e, s.geometry.sinks);
  auto policies = s.context->policies.find(e.config_version);
  if (!policies || e.entries == 0 || !policies->budget->limits())
    return ack_atom_v;
  auto over = pages_over_budget(s, e, *policies->budget);
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
  auto page = gpu::layout_of(s.context->dims, form::int4).page_bytes;
  if (policies->compression->keeps_raw())
    page = gpu::layout_of(s.context->dims, s.context->raw).page_bytes;
  evict(self, s.ledger.take_lowest(w.device, (bytes + page - 1) / page, *policies->scheduling),
        evict_reason::pressure, [owed = owed_answer<reclaim_done>{p}](std::uint64_t pages) mutable {
          owed.deliver(reclaim_done{pages});
        });
  return p;
}

void sequence_changed(scheduler_state& s, const sequence_work& w) {
  switch (w.verb) {
  case sequence_verb::open: break;
  case sequence_verb::fork: s.ledger.fork(w.sequence, w.child); break;
  case sequence_verb::close: s.ledger.close(w.sequence); break;
  case sequence_verb::pin: s.ledger.pin(w.sequence, true); break;
  case sequence_verb::unpin: s.ledger.pin(w.sequence, false); break;
  }
}

scheduler_actor::behavior_type behaviour(self_pointer self, context_ptr context) {
  auto& s = self->state;
  const auto& cache = context->settings.cache;
  s.geometry = {cache.sinks, cache.page_tokens, cache.window};
  s.ledger = page_ledger{cache.page_tokens};
  s.probe = context->metrics->scheduler();
  s.actor_probe = context->metrics->actor(monitoring::actor_kind::stream_scheduler, 0);
  s.context = std::move(context);
  return {
      [=](const settled_event& e) { return settled(self, e); },
      [=](const attended_event& e) {
        self->state.ledger.attended(
            e, [self](std::uint64_t ticks) { self->state.probe->reuse_distance(ticks); });
      },
      [=](const reclaim_work& w) { return reclaim(self, w); },
      [=](const sequence_work& w) { sequence_changed(self->state, w); },
      [=](forget_atom, device_id device) { self->state.ledger.forget_device(device); },
      [=](drop_lane_atom, lane_id lane) {
        auto& state = self->state;
        state.ledger.close_if([&](sequence_id x) { return state.context->lane_of(x) == lane; });
      },
      [=](tick_atom) {
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
