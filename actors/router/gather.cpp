// SPDX-License-Identifier: Apache-2.0
// Attends whose owners work in the order of their devices' events: no host thread waits between the
// query and the output. Owners on GPUs share their pages and choose together; partials are merged
// behind the attentions that make them.
#include <algorithm>
#include <map>
#include <utility>

#include <pikv/actors/choice/device_order.hpp>
#include <pikv/actors/router/attend_flow.hpp>
#include <pikv/actors/shard_owner/choosing.hpp>
#include <pikv/gpu/gather.hpp>

namespace pikv {

/// Several owners, all on GPUs. Page masses for the scheduler need the host between attention and
/// merge.
bool router_state::can_order(const attend_flow& f) const {
  return f.owners.size() > 1 && std::ranges::all_of(f.owners, [this](const auto& o) {
           return context_->devices[o.device.value].device->gpu() >= 0;
         });
}

/// Work that waits for an engine's stream stands in the devices' streams until the stream gets there,
/// and behind the engine's wait for this attend. So none may be enqueued before this attend's last.
void router_state::take_turn(attend_flow& f) {
  f.in_turn = f.client->buffers.ready.recorded();
  turns_ += f.in_turn ? 1 : 0;
}

void router_state::end_turn(attend_flow& f) {
  if (!std::exchange(f.in_turn, false))
    return;
  --turns_;
  pump();
}

/// Gives every owner places for its pages of every part. Pages that are settling at home without a
/// fence are counted there already: the owner knows them, the router not yet.
void router_state::place_pages(attend_flow& f) const {
  for (auto& o : f.owners) {
    o.parts.clear();
    o.gather = {};
  }
  for (std::uint32_t i = 0; i < f.request.parts.size(); ++i) {
    const auto& part = f.request.parts[i];
    const auto& layer = sequences_.find(part.sequence)->layers[f.request.layer];
    const auto home = context_->home_of(part.sequence);
    auto settling = layer.settled - static_cast<std::uint32_t>(layer.lost.size());
    for (const auto n : layer.on_device)
      settling -= n;
    std::uint32_t begin = 0;
    for (auto& o : f.owners) {
      const auto own = layer.on_device[o.device.value] + (o.device == home ? settling : 0);
      o.parts.push_back(i);
      o.gather.places.push_back({begin, own, 0});
      begin += own;
    }
    for (auto& o : f.owners)
      o.gather.places.back().pages = begin;
  }
}

/// One area on each GPU, in the exchange memory of the first owner there. False where an owner does
/// not reach one, or there is no room.
bool router_state::take_areas(attend_flow& f, std::size_t bytes) const {
  std::map<int, std::uint32_t> areas; ///< by GPU
  std::vector<buffer_ref> refs;
  for (auto& o : f.owners) {
    auto& device = *context_->devices[o.device.value].device;
    const auto [area, fresh] =
        areas.try_emplace(device.gpu(), static_cast<std::uint32_t>(refs.size()));
    o.gather.own_area = area->second;
    if (!fresh)
      continue;
    auto block = device.exchange().allocate(std::max<std::size_t>(bytes, 1));
    if (!block || block->ref().arena != arena_kind::exchange)
      return false;
    refs.push_back(block->ref());
    f.areas.push_back(std::move(*block));
  }
  for (auto& o : f.owners) {
    const auto& device = *context_->devices[o.device.value].device;
    for (const auto& area : f.areas)
      if (!device.reaches(area.data()))
        return false;
    o.gather.areas = refs;
  }
  f.owners.front().gather.leads = true;
  return refs.size() <= gpu::share_most_areas;
}

/// Whether the owners can choose together; if so, everything is ready for them to begin.
bool router_state::prepare_gather(attend_flow& f) const {
  if (!can_order(f) || scores_bytes(f) > most_score_bytes)
    return false;
  for (const auto& o : f.owners)
    if (const auto& kernels = context_->devices[o.device.value].device->kernels();
        kernels.share == nullptr || !can_choose(kernels, context_->dims, *f.policies))
      return false;
  const auto parts = [&f] {
    std::vector<std::vector<std::uint32_t>> x;
    for (const auto& o : f.owners)
      x.push_back(o.parts);
    return x;
  }();
  place_pages(f);
  std::vector<std::uint32_t> rows;
  for (const auto& part : f.request.parts)
    rows.push_back(part.tokens);
  const gpu::gather_layout layout(context_->dims, f.owners.front().gather.places, rows,
                                  f.policies->scores);
  if (take_areas(f, layout.bytes()))
    return true;
  f.areas.clear();
  for (std::size_t i = 0; i < f.owners.size(); ++i) {
    f.owners[i].gather = {};
    f.owners[i].parts = parts[i];
  }
  return false;
}

void router_state::gather(const flow_ptr& f) {
  f->chooses = f->gathers = true;
  f->waiting = f->owners.size();
  for (const auto& o : f->owners)
    self_
        ->request(o.handle, caf::infinite,
                  share_work{f->request.ticket, f->request.layer, f->parts_of(o), o.gather})
        .then(
            [this, f](ack_atom) {
              if (!f->ended && --f->waiting == 0)
                read(f);
            },
            [this, f](const caf::error& e) { fail(f, from_caf(e, "the choice of an attend")); });
}

/// Asks where the partials will be and merges them behind the attentions.
void router_state::merge_in_order(const flow_ptr& f) {
  auto asked = std::make_shared<std::size_t>(f->owners.size());
  for (std::size_t i = 0; i < f->owners.size(); ++i)
    self_->request(f->owners[i].handle, caf::infinite, partial_work{f->request.ticket})
        .then(
            [this, f, i, asked](const partial_place& x) {
              if (f->ended)
                return;
              if (!take_partial(f->owners[i], x.out, x.lse))
                return fail(f, owner_gone());
              if (--*asked == 0)
                merge(f);
            },
            [this, f](const caf::error& e) { fail(f, from_caf(e, "the attention")); });
}

bool router_state::take_partial(owner_work& x, const buffer_ref& out,
                                const buffer_ref& lse) const {
  for (auto [ref, block] : {std::pair{&out, &x.out}, std::pair{&lse, &x.lse}}) {
    if (ref->bytes == 0)
      continue;
    auto shared = context_->share(*ref);
    if (!shared)
      return false;
    *block = std::move(*shared);
  }
  return true;
}

} // namespace pikv
