// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/transfer_actor.hpp>

#include <algorithm>
#include <optional>
#include <span>
#include <stdexcept>
#include <vector>

#include <caf/actor_system.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>
#include <fmt/format.h>

#include <pikv/actors/jobs.hpp>
#include <pikv/messages/caf_error.hpp>

namespace pikv {

namespace {

struct moving {
  device_id target{};
  adopt_work arrived;               // with references on the target
  std::vector<gpu::block> from, to; // shared until the target has adopted
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
constexpr auto path = monitoring::transfer_path::device_to_device;

/// Shares the source and allocates its copy; returns the copy's name.
result<buffer_ref> plan_copy(cache_context& context, const buffer_ref& from, moving& m) {
  auto source = context.devices[from.device.value].device->memory().share(from);
  if (!source)
    return source.error();
  auto target = context.devices[m.target.value].device->memory().allocate(source->bytes());
  if (!target)
    return target.error();
  auto ref = target->ref();
  m.bytes += source->bytes();
  m.from.push_back(std::move(*source));
  m.to.push_back(std::move(*target));
  return ref;
}

result<std::shared_ptr<moving>> prepare(const move_work& w, cache_context& context) {
  auto m = std::make_shared<moving>();
  m->target = w.target;
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

std::vector<std::uint64_t> checksums(const std::vector<gpu::block>& blocks,
                                     const gpu::kernel_table& kernels, gpu::executor& x) {
  std::vector<std::span<const std::byte>> runs;
  for (const auto& b : blocks)
    runs.emplace_back(b.data(), b.bytes());
  std::vector<std::uint64_t> out(runs.size());
  kernels.checksum({runs, out}, x);
  return out;
}

void copy_and_verify(moving& m, const gpu::kernel_table& kernels, gpu::executor& x, error& status) {
  auto begin = std::chrono::steady_clock::now();
  std::vector<gpu::copy_item> items;
  for (std::size_t i = 0; i < m.from.size(); ++i)
    items.push_back({m.from[i].data(), m.to[i].data(), m.from[i].bytes()});
  const auto sent = checksums(m.from, kernels, x);
  kernels.copy(items, x);
  const auto arrived = checksums(m.to, kernels, x);
  if (const auto bad = std::ranges::mismatch(sent, arrived); bad.in1 != sent.end()) {
    const auto i = static_cast<std::size_t>(bad.in1 - sent.begin());
    status = {errc::corrupt_page, fmt::format("a page of {} bytes did not arrive as it was sent; "
                                              "the original is kept",
                                              m.from[i].bytes())};
    return;
  }
  m.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

caf::result<move_done> move(self_pointer self, const move_work& w) {
  auto& s = self->state;
  auto p = self->make_response_promise<move_done>();
  owed_answer<move_done> owed{p};
  auto prepared = prepare(w, *s.context);
  if (!prepared) {
    s.probe->failed(path, prepared.code());
    owed.deliver(to_caf(prepared.error()));
    return p;
  }
  auto m = std::move(*prepared);
  auto fail = [self, owed](const error& e) mutable {
    self->state.probe->failed(path, e.code);
    owed.deliver(to_caf(e));
  };
  auto& target = s.context->devices[w.target.value];
  s.jobs.launch(
      self, *target.copy, "move",
      [m, &kernels = target.device->kernels()](gpu::executor& x, error& status) {
        copy_and_verify(*m, kernels, x, status);
      },
      [self, m, owed, fail]() mutable {
        auto& context = *self->state.context;
        self->state.probe->transferred(path, m->bytes, m->seconds);
        const auto owner = context.owners.get(m->target.value);
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
