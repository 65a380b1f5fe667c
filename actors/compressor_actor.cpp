// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/compressor_actor.hpp>

#include <cmath>
#include <optional>
#include <stdexcept>

#include <caf/actor_system.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>

#include <pikv/actors/jobs.hpp>
#include <pikv/messages/caf_error.hpp>

namespace pikv {

namespace {

struct encoding {
  form target = form::int8;
  std::vector<gpu::block> blocks; // shared while the stream works
  std::vector<gpu::page_view> pages;
  std::vector<std::byte*> out;
  std::vector<gpu::codec_error> errors;
  double seconds = 0;
};

struct compressor_state {
  compressor_state() = default;
  static inline const char* name = "compressor";

  context_ptr context;
  device_id device{};
  std::optional<monitoring::owner_probe> probe;
  std::optional<monitoring::actor_probe> actor_probe;
  job_list jobs;
};

using self_pointer = compressor_actor::stateful_pointer<compressor_state>;
using promise_type = caf::typed_response_promise<encode_done>;

result<std::shared_ptr<encoding>> prepare(const encode_work& w, gpu::arena& memory) {
  auto e = std::make_shared<encoding>();
  e->target = w.target;
  for (std::size_t i = 0; i < w.pages.size() && i < w.out.size(); ++i) {
    auto in = memory.share(w.pages[i].data);
    if (!in)
      return in.error();
    auto out = memory.share(w.out[i]);
    if (!out)
      return out.error();
    e->pages.push_back({in->data(), nullptr, w.pages[i].first_position,
                        static_cast<std::uint16_t>(w.pages[i].tokens), w.pages[i].stored,
                        gpu::summary_none, w.pages[i].shard});
    e->out.push_back(out->data());
    e->blocks.push_back(std::move(*in));
    e->blocks.push_back(std::move(*out));
  }
  e->errors.resize(e->pages.size());
  return e;
}

double relative(double error, double norm) { return norm > 0 ? std::sqrt(error / norm) : 0; }

encode_done report(const encoding& e, monitoring::owner_probe& probe) {
  encode_done done;
  gpu::codec_error sum;
  std::uint64_t pages = 0;
  for (const auto& x : e.errors) {
    done.representable.push_back(x.representable ? 1 : 0);
    if (!x.representable)
      continue;
    ++pages;
    sum.k_error += x.k_error;
    sum.k_norm += x.k_norm;
    sum.v_error += x.v_error;
    sum.v_norm += x.v_norm;
  }
  if (pages > 0)
    probe.encoded(e.target, pages, relative(sum.k_error, sum.k_norm),
                  relative(sum.v_error, sum.v_norm), e.seconds);
  return done;
}

caf::result<encode_done> encode(self_pointer self, const encode_work& w) {
  auto& s = self->state;
  auto p = self->make_response_promise<encode_done>();
  auto& device = s.context->devices[s.device.value];
  auto prepared = prepare(w, device.device->memory());
  if (!prepared) {
    p.deliver(to_caf(prepared.error())); // the promise owes the answer, not the return value
    return p;
  }
  auto e = std::move(*prepared);
  s.jobs.launch(
      self, *device.codec, "encode",
      [e, dims = s.context->dims, &kernels = device.device->kernels()](gpu::executor& x, error&) {
        auto begin = std::chrono::steady_clock::now();
        kernels.encode({dims, e->target, e->pages, e->out, e->errors}, x);
        e->seconds =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      },
      [self, e, p]() mutable { p.deliver(report(*e, *self->state.probe)); },
      [p](const error& why) mutable { p.deliver(to_caf(why)); });
  return p;
}

compressor_actor::behavior_type behaviour(self_pointer self, context_ptr context,
                                          device_id device) {
  auto& s = self->state;
  s.probe = context->metrics->owner(device, 0);
  s.actor_probe = context->metrics->actor(monitoring::actor_kind::compressor, device.value);
  s.context = std::move(context);
  s.device = device;
  return {
      [=](const encode_work& w) { return encode(self, w); },
      [=](const stream_done& x) { self->state.jobs.finish(x); },
      [=](tick_atom) {
        self->state.actor_probe->mailbox_depth(self->mailbox().size());
        self->state.probe->flush();
      },
      [=](crash_atom) { throw std::runtime_error("crash asked for by a test"); },
  };
}

} // namespace

compressor_actor spawn_compressor(caf::actor_system& system, context_ptr context,
                                  device_id device) {
  return system.spawn(behaviour, std::move(context), device);
}

} // namespace pikv
