// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/transfer_actor.hpp>

#include <chrono>
#include <optional>
#include <stdexcept>

#include <caf/actor_system.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>

#include <pikv/actors/jobs.hpp>
#include <pikv/messages/caf_error.hpp>

namespace pikv {

namespace {

using steady = std::chrono::steady_clock;

struct moving {
  gpu::transport::page_move blocks; // shared until the target has adopted
  adopt_work arrived;               // with references on the target
  std::uint64_t bytes = 0;
  double seconds = 0;
};

struct transfer_state {
  transfer_state() = default;
  static inline const char* name = "transfer";

  context_ptr context;
  std::optional<monitoring::transfer_probe> probe;
  std::optional<monitoring::actor_probe> actor_probe;
  job_list jobs;
};

using self_pointer = transfer_actor::stateful_pointer<transfer_state>;

monitoring::transfer_path path_of(const gpu::transport::page_mover& x) noexcept {
  return x.through_nccl() ? monitoring::transfer_path::nccl
                          : monitoring::transfer_path::device_to_device;
}

/// Shares the source and allocates its copy; returns the copy's name.
result<buffer_ref> plan_copy(cache_context& context, const buffer_ref& from, moving& m) {
  if (from.device != m.blocks.source)
    return error{errc::internal, "the pages of one move lie on several devices"};
  auto source = context.devices[from.device.value].device->memory().share(from);
  if (!source)
    return source.error();
  auto target = context.devices[m.blocks.target.value].device->memory().allocate(source->bytes());
  if (!target)
    return target.error();
  auto ref = target->ref();
  m.bytes += source->bytes();
  m.blocks.from.push_back(std::move(*source));
  m.blocks.to.push_back(std::move(*target));
  return ref;
}

device_id source_of(const move_work& w) noexcept {
  return w.pages.empty() ? w.target : w.pages.front().data.device;
}

result<std::shared_ptr<moving>> prepare(const move_work& w, cache_context& context) {
  auto m = std::make_shared<moving>();
  m->blocks.source = source_of(w);
  m->blocks.target = w.target;
  // Half of what the owner waits: it must not have given the pages up when they are adopted.
  m->blocks.deadline = steady::now() + context.settings.limits.deadline / 2;
  for (auto page : w.pages) {
    auto data = plan_copy(context, page.data, *m);
    if (!data)
      return data.error();
    page.data = *data;
    if (page.summary.bytes > 0) {
      auto summary = plan_copy(context, page.summary, *m);
      if (!summary)
        return summary.error();
      page.summary = *summary;
    }
    m->arrived.pages.push_back(page);
  }
  return m;
}

/// On the stream's thread.
void copy(moving& m, gpu::transport::page_mover& mover, gpu::executor& x, error& status) {
  const auto begin = steady::now();
  if (auto r = mover.move(m.blocks, x); !r)
    status = r.error();
  m.seconds = std::chrono::duration<double>(steady::now() - begin).count();
}

caf::result<move_done> move(self_pointer self, const move_work& w) {
  auto& s = self->state;
  auto p = self->make_response_promise<move_done>();
  owed_answer<move_done> owed{p};
  const auto mover = s.context->movers.between(source_of(w), w.target);
  auto fail = [self, owed, path = path_of(*mover)](const error& e) mutable {
    self->state.probe->failed(path, e.code);
    owed.deliver(to_caf(e));
  };
  auto prepared = prepare(w, *s.context);
  if (!prepared) {
    fail(prepared.error());
    return p;
  }
  auto m = std::move(*prepared);
  s.jobs.launch(
      self, mover->stream_to(w.target), "move",
      [m, mover](gpu::executor& x, error& status) { copy(*m, *mover, x, status); },
      [self, m, owed, fail, path = path_of(*mover)]() mutable {
        auto& context = *self->state.context;
        if (steady::now() >= m->blocks.deadline)
          return fail({errc::deadline_exceeded, "the pages arrived too late to be adopted"});
        self->state.probe->transferred(path, m->bytes, m->seconds);
        const auto owner = context.owners.get(m->blocks.target.value);
        self->request(owner.handle, context.settings.limits.deadline, m->arrived)
            .then([m, owed,
                   now = owner.incarnation](ack_atom) mutable { owed.deliver(move_done{now}); },
                  [m, fail](const caf::error& e) mutable { fail(from_caf(e, "an adoption")); });
      },
      fail);
  return p;
}

transfer_actor::behavior_type behaviour(self_pointer self, context_ptr context) {
  auto& s = self->state;
  s.probe = context->metrics->transfer();
  s.actor_probe = context->metrics->actor(monitoring::actor_kind::transfer, 0);
  s.context = std::move(context);
  return {
      [=](const move_work& w) { return move(self, w); },
      [=](const stream_done& x) { self->state.jobs.finish(x); },
      [=](tick_atom) {
        self->state.actor_probe->mailbox_depth(self->mailbox().size());
        self->state.probe->flush();
      },
      [=](crash_atom) { throw std::runtime_error("crash asked for by a test"); },
  };
}

} // namespace

transfer_actor spawn_transfer(caf::actor_system& system, context_ptr context) {
  return system.spawn(behaviour, std::move(context));
}

} // namespace pikv
