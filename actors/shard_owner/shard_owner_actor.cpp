// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/shard_owner/shard_owner_actor.hpp>

#include <stdexcept>

#include <caf/actor_system.hpp>

#include <pikv/actors/shard_owner/state.hpp>
#include <pikv/messages/caf_error.hpp>

namespace pikv {

namespace {

using self_pointer = shard_owner_state::pointer;

/// Answers `work` through `handle`, in the order in which its router sent it.
template <class Reply, class Work>
caf::result<Reply> in_order(self_pointer self, const Work& work,
                            void (shard_owner_state::*handle)(const Work&, promise<Reply>)) {
  auto p = self->make_response_promise<Reply>();
  self->state.in_order(
      [self, work, handle, owed = promise<Reply>{p}] { (self->state.*handle)(work, owed); });
  return p;
}

shard_owner_actor::behavior_type owner_behaviour(self_pointer self, context_ptr context,
                                                 device_id device, std::uint64_t incarnation) {
  self->state.start(self, std::move(context), device, incarnation);
  return {
      [=](const append_work& w) { return in_order<ack_atom>(self, w, &shard_owner_state::append); },
      [=](const truncate_work& w) -> ack_atom {
        self->state.in_order([=] { self->state.truncate(w); });
        return ack_atom_v;
      },
      [=](enqueued_atom) {
        auto p = self->make_response_promise<ack_atom>();
        self->state.in_order([owed = promise<ack_atom>{p}]() mutable { owed.deliver(ack_atom_v); });
        return p;
      },
      [=](const describe_work& w) {
        return in_order<ack_atom>(self, w, &shard_owner_state::describe);
      },
      [=](const settle_work& w) {
        return in_order<settle_done>(self, w, &shard_owner_state::settle);
      },
      [=](const scatter_work& w) {
        return in_order<scatter_done>(self, w, &shard_owner_state::scatter);
      },
      [=](const migrate_work& w) {
        return in_order<settle_done>(self, w, &shard_owner_state::migrate);
      },
      [=](const drop_work& w) -> ack_atom {
        self->state.drop(w);
        return ack_atom_v;
      },
      [=](const survey_work& w) {
        return in_order<survey_done>(self, w, &shard_owner_state::survey);
      },
      [=](const share_work& w) { return in_order<ack_atom>(self, w, &shard_owner_state::share); },
      [=](const attend_work& w) {
        return in_order<attend_done>(self, w, &shard_owner_state::attend);
      },
      [=](const partial_work& w) {
        return in_order<partial_place>(self, w, &shard_owner_state::tell_partial);
      },
      [=](const release_work& w) { self->state.in_order([=] { self->state.release(w.ticket); }); },
      [=](const sequence_work& w) {
        return in_order<ack_atom>(self, w, &shard_owner_state::change_and_reply);
      },
      [=](const adopt_work& w) -> caf::result<ack_atom> {
        if (auto r = self->state.adopt(w); !r)
          return to_caf(r.error());
        return ack_atom_v;
      },
      [=](const evict_work& w) { return reclaim_done{self->state.evict(w)}; },
      [=](usage_atom) { return self->state.usage(); },
      [=](drop_lane_atom, lane_id lane) { self->state.drop_lane(lane); },
      [=](announce_atom) { self->state.announce(); },
      [=](const stream_done& x) { self->state.finish(x); },
      [=](tick_atom) { self->state.tick(); },
      [=](crash_atom) { throw std::runtime_error("crash asked for by a test"); },
  };
}

} // namespace

shard_owner_actor spawn_shard_owner(caf::actor_system& system, context_ptr context,
                                    device_id device) {
  // Read here: the behaviour runs later. The caller enters this owner as the next one.
  const auto incarnation = context->owners.get(device.value).incarnation + 1;
  return system.spawn(owner_behaviour, std::move(context), device, incarnation);
}

} // namespace pikv
