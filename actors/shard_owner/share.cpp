// SPDX-License-Identifier: Apache-2.0
// The first half of a choice that several owners make together: each shows the others its pages.
#include <fmt/format.h>

#include <pikv/actors/choice/device_order.hpp>
#include <pikv/actors/shard_owner/state.hpp>
#include <pikv/messages/caf_error.hpp>

namespace pikv {

struct shard_owner_state::sharing {
  share_work work;
  std::shared_ptr<device_order> order;
  std::shared_ptr<const policy_set> policies;
  std::vector<gpu::sequence_rows> rows;
  std::vector<gpu::block> areas;
  std::vector<std::byte*> addresses;
  missing_summaries bare;

  void run(const request_buffers& b, const cache_context& context,
           const gpu::kernel_table& kernels, const page_geometry& geometry, gpu::executor& x) const {
    bare.make(context.dims, kernels, x);
    kernels.share({context.dims, context.scale, b.q, rows, geometry.window, policies->scores,
                   work.gather.places, addresses},
                  x);
  }
};

result<std::shared_ptr<shard_owner_state::sharing>>
shard_owner_state::prepare_share(const share_work& w) {
  const auto r = context_->requests.find(w.ticket);
  if (!r || !r->order)
    return error{errc::cancelled, "the request ended before its pages were shared"};
  auto job = std::make_shared<sharing>();
  job->work = w;
  job->order = r->order;
  job->policies = r->policies;
  job->bare.parts = r->policies->summary_parts;
  held_request held;
  held.lane = context_->lane_of(w.parts.front().sequence);
  for (std::size_t i = 0; i < w.parts.size(); ++i) {
    const auto& part = w.parts[i];
    auto& layer = find_or_make(part.sequence).layers[w.layer];
    if (auto added = add_summaries(layer, job->bare); !added)
      return added.error();
    layer.settled.mirror_on(*device().device);
    held.leases.push_back(layer.settled.lease());
    held.windows.push_back(layer.window.lease());
    const auto pages = held.leases.back().pages();
    if (pages.size() > w.gather.places[i].capacity)
      return error{errc::internal,
                   fmt::format("device {} has {} pages of sequence {} and was given places for {}",
                               device_.value, pages.size(), part.sequence.value,
                               w.gather.places[i].capacity)};
    job->rows.push_back({pages, {}, part.row_begin, part.tokens, part.position});
  }
  for (const auto& ref : w.gather.areas) {
    auto area = context_->share(ref);
    if (!area)
      return area.error();
    job->addresses.push_back(area->data());
    job->areas.push_back(std::move(*area));
  }
  held_[w.ticket] = std::move(held); // the leases stay until the attend takes them
  return job;
}

void shard_owner_state::share(const share_work& w, promise<ack_atom> p) {
  auto prepared = prepare_share(w);
  if (!prepared) {
    held_.erase(w.ticket);
    p.deliver(to_caf(prepared.error()));
    return;
  }
  auto job = std::move(*prepared);
  auto pin = std::make_shared<request::pin>();
  auto task = [job, pin, context = context_, geometry = geometry_,
               &kernels = device().device->kernels()](gpu::executor& x, error& status) {
    auto r = context->requests.find(job->work.ticket);
    *pin = r ? r->try_pin() : request::pin{};
    if (*pin)
      job->run(pin->buffers(), *context, kernels, geometry, x);
    else
      status = {errc::cancelled, "the request ended before its pages were scored"};
    if (status.code != errc::ok)
      job->order->fail(status);
  };
  wait_until_ready(w.ticket);
  // Who counts on this hears of a failure through the order: the answer only says "enqueued".
  jobs_.launch(
      self_, *device().compute, "share", std::move(task), [] {},
      [order = job->order](const error& e) { order->fail(e); });
  job->order->add(device_order::step::shared, device().compute->record());
  p.deliver(ack_atom_v);
}

} // namespace pikv
