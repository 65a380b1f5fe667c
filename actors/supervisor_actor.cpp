// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/supervisor_actor.hpp>

#include <optional>
#include <unordered_map>

#include <caf/actor_system.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <pikv/actors/compressor_actor.hpp>
#include <pikv/actors/router/router_actor.hpp>
#include <pikv/actors/scheduler/scheduler_actor.hpp>
#include <pikv/actors/shard_owner/shard_owner_actor.hpp>
#include <pikv/actors/transfer_actor.hpp>

namespace pikv {

namespace {

using monitoring::actor_kind;

struct child {
  actor_kind kind = actor_kind::router;
  std::uint32_t index = 0;
};

struct supervisor_state {
  supervisor_state() = default;
  static inline const char* name = "supervisor";

  context_ptr context;
  std::unordered_map<caf::actor_addr, child> children;
  std::optional<monitoring::supervisor_probe> probe;
  std::optional<monitoring::actor_probe> actor_probe;
};

using self_pointer = supervisor_actor::stateful_pointer<supervisor_state>;

/// Starts an actor and enters it into its directory; returns its incarnation.
std::uint64_t start(caf::actor_system& system, const context_ptr& context, child who) {
  switch (who.kind) {
  case actor_kind::router:
    return context->routers.set(who.index, spawn_router(system, context, {who.index}));
  case actor_kind::shard_owner:
    return context->owners.set(who.index, spawn_shard_owner(system, context, {who.index}));
  case actor_kind::compressor:
    return context->compressors.set(who.index, spawn_compressor(system, context, {who.index}));
  case actor_kind::stream_scheduler:
    return context->scheduler.set(0, spawn_scheduler(system, context));
  case actor_kind::transfer: return context->transfer.set(0, spawn_transfer(system, context));
  case actor_kind::config_watcher:
  case actor_kind::metrics:
  case actor_kind::supervisor: break; // not children of this actor
  }
  return 0;
}

/// Watches the actor that the directory names; one that has died already is reported at once.
void watch(self_pointer self, child who) {
  auto& context = *self->state.context;
  auto adopt = [&](const auto& handle) {
    if (!handle)
      return; // stopped before this actor ran for the first time
    self->state.children.emplace(handle->address(), who);
    self->monitor(handle);
  };
  switch (who.kind) {
  case actor_kind::router: return adopt(context.routers.get(who.index).handle);
  case actor_kind::shard_owner: return adopt(context.owners.get(who.index).handle);
  case actor_kind::compressor: return adopt(context.compressors.get(who.index).handle);
  case actor_kind::stream_scheduler: return adopt(context.scheduler.get(0).handle);
  case actor_kind::transfer: return adopt(context.transfer.get(0).handle);
  case actor_kind::config_watcher:
  case actor_kind::metrics:
  case actor_kind::supervisor: break;
  }
}

/// Every actor of the graph, those first that others look up.
std::vector<child> children_of(const cache_context& context) {
  std::vector<child> list{{actor_kind::stream_scheduler, 0}, {actor_kind::transfer, 0}};
  for (std::uint32_t d = 0; d < context.devices.size(); ++d) {
    list.push_back({actor_kind::compressor, d});
    list.push_back({actor_kind::shard_owner, d});
  }
  for (std::uint32_t l = 0; l < context.lanes.size(); ++l)
    list.push_back({actor_kind::router, l});
  return list;
}

void clean_up(cache_context& context, child who, std::uint64_t incarnation) {
  switch (who.kind) {
  case actor_kind::router:
    // The new router is in the directory. Sequences that were opened between its start and now may
    // have gone to the old one; requests that still name the old one are dead.
    context.lanes[who.index].lost_before = context.first_unused_sequence();
    context.open.remove_if([&](sequence_id x) {
      return context.lane_of(x).value == who.index
             && x.value < context.lanes[who.index].lost_before.load();
    });
    context.requests.end_lane({who.index}, incarnation,
                              {errc::actor_down, "the router of this sequence went down; retry"});
    for (std::size_t d = 0; d < context.owners.size(); ++d)
      caf::anon_send(context.owners.get(d).handle, drop_lane_atom_v, lane_id{who.index});
    caf::anon_send(context.scheduler.get(0).handle, drop_lane_atom_v, lane_id{who.index});
    break;
  case actor_kind::shard_owner:
    caf::anon_send(context.scheduler.get(0).handle, forget_atom_v, device_id{who.index});
    break;
  case actor_kind::stream_scheduler:
    for (std::size_t d = 0; d < context.owners.size(); ++d)
      caf::anon_send(context.owners.get(d).handle, announce_atom_v);
    break;
  default: break;
  }
}

void on_down(self_pointer self, const caf::down_msg& down) {
  auto& s = self->state;
  auto node = s.children.extract(down.source);
  if (!node || s.context->stopped.load())
    return;
  const auto who = node.mapped();
  const auto incarnation = start(self->system(), s.context, who);
  watch(self, who);
  ++s.context->restarts;
  s.probe->restarted(who.kind);
  clean_up(*s.context, who, incarnation);
}

/// Tells a child of each kind that a tick has passed.
void tick(cache_context& context) {
  auto all = [](auto& d) {
    for (std::size_t i = 0; i < d.size(); ++i)
      caf::anon_send(d.get(i).handle, tick_atom_v);
  };
  all(context.routers);
  all(context.owners);
  all(context.compressors);
  all(context.transfer);
  all(context.scheduler);
}

supervisor_actor::behavior_type behaviour(self_pointer self, context_ptr context) {
  auto& s = self->state;
  s.probe = context->metrics->supervisor();
  s.actor_probe = context->metrics->actor(actor_kind::supervisor, 0);
  s.context = std::move(context);
  self->set_down_handler([self](caf::down_msg& down) { on_down(self, down); });
  for (auto who : children_of(*s.context))
    watch(self, who);
  return {
      [=](tick_atom) {
        self->state.actor_probe->mailbox_depth(self->mailbox().size());
        tick(*self->state.context);
      },
  };
}

} // namespace

supervisor_actor spawn_supervisor(caf::actor_system& system, context_ptr context) {
  // Here and not in the behaviour, which runs later: the caller may send to them at once.
  for (auto who : children_of(*context))
    start(system, context, who);
  return system.spawn(behaviour, std::move(context));
}

} // namespace pikv
