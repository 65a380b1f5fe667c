// SPDX-License-Identifier: Apache-2.0
// Pages that an append pushed out of their windows get a shard, a form and an owner.
#include <algorithm>
#include <map>

#include <pikv/actors/router/append_flow.hpp>

namespace pikv {

settle_order router_state::place(const policy_set& p, sequence_id id, std::uint32_t layer,
                                 const sequence_record& s, std::uint32_t page) const {
  const auto tokens = geometry_.page_tokens;
  policies::page_facts facts{id, layer, page, geometry_.first_position(page), tokens, {}};
  // The gate that labels a layer is that of the layer before: it is known when the page settles
  // and, unlike the layer's own, also when a query of this layer is routed.
  if (layer > 0)
    facts.top_experts = top_experts(s.layers[layer - 1].gate, facts.first_position, tokens);
  auto shard = p.placement->place(facts);
  auto stored =
      p.compression->keeps_raw() ? context_->raw : p.compression->choose(facts, context_->raw);
  auto devices = static_cast<std::uint32_t>(context_->devices.size());
  return {id, page, shard, policies::owner_of(shard, devices), stored};
}

void router_state::settle(const append_flow& f) {
  const auto layer_index = f.request.layer;
  const auto& p = *f.policies;
  std::map<device_id, settle_work> works;
  for (const auto& part : f.request.parts) {
    auto* s = sequences_.find(part.sequence);
    auto& layer = s->layers[layer_index];
    const auto target = geometry_.settled_pages(layer.appended);
    for (; layer.settled < target; ++layer.settled)
      works[context_->home_of(part.sequence)].orders.push_back(
          place(p, part.sequence, layer_index, *s, layer.settled));
    if (layer_index > 0)
      forget_before(s->layers[layer_index - 1].gate, geometry_.first_position(layer.settled));
  }
  for (auto& [home, w] : works) {
    w.layer = layer_index;
    w.summary_parts = p.summary_parts;
    // What only changes tables on one device needs no waiting: the owner's order is enough.
    const bool waits = p.budget->limits() || std::ranges::any_of(w.orders, [&](const auto& o) {
                         return o.device != home || o.stored != context_->raw;
                       });
    if (waits)
      for (const auto& o : w.orders)
        fence(o.sequence, layer_index, 1);
    auto lift = [this, waits, w = w] {
      if (!waits)
        return;
      for (const auto& o : w.orders)
        fence(o.sequence, w.layer, -1);
      pump();
    };
    self_->request(owner(home), context_->settings.limits.deadline, w)
        .then(
            [this, w = w, version = p.version, limits = p.budget->limits(),
             lift](const settle_done& done) {
              settled(w, done);
              tell_scheduler(w.layer, version, done.settled, limits);
              lift();
            },
            [this, w = w, lift](const caf::error&) {
              settled(w, {});
              lift();
            });
  }
}

void router_state::settled(const settle_work& asked, const settle_done& done) {
  notice_restarts();
  for (const auto& o : done.settled)
    if (auto* s = sequences_.find(o.sequence)) {
      auto& layer = s->layers[asked.layer];
      if (o.incarnation == owners_[o.device.value].incarnation)
        layer.arrived(o.page, o.device);
      else
        layer.lost.push_back(o.page); // its new owner went down before this was heard
    }
  for (const auto& o : asked.orders) {
    auto* s = sequences_.find(o.sequence);
    const bool arrived = std::ranges::any_of(done.settled, [&](const settle_order& x) {
      return x.sequence == o.sequence && x.page == o.page;
    });
    if (s != nullptr && !arrived) // it stays in the window and is ordered again later
      s->layers[asked.layer].settled = std::min(s->layers[asked.layer].settled, o.page);
  }
}

void router_state::tell_scheduler(std::uint32_t layer, std::uint64_t version,
                                  const std::vector<settle_order>& pages, bool wait) {
  std::map<sequence_id, settled_event> events;
  for (const auto& o : pages)
    events[o.sequence].pages.push_back(o);
  auto scheduler = context_->scheduler.get(0).handle;
  for (auto& [id, e] : events) {
    auto* s = sequences_.find(id);
    if (s == nullptr)
      continue;
    e.config_version = version;
    e.layer = layer;
    e.sequence = id;
    e.entries = s->layers[layer].appended;
    if (!wait) {
      caf::anon_send(scheduler, std::move(e));
      continue;
    }
    // Evictions end before the next attend, so that results do not depend on timing.
    fence(id, layer, 1);
    auto lift = [this, id = id, layer] {
      fence(id, layer, -1);
      pump();
    };
    self_->request(scheduler, context_->settings.limits.deadline, std::move(e))
        .then([lift](ack_atom) { lift(); }, [lift](const caf::error&) { lift(); });
  }
}

} // namespace pikv
