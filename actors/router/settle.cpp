// SPDX-License-Identifier: Apache-2.0
// Pages that an append pushed out of their windows get a shard, a form and an owner.
#include <algorithm>
#include <cstring>
#include <map>

#include <pikv/actors/router/append_flow.hpp>
#include <pikv/gpu/host/half.hpp>

namespace pikv {

/// The mean key in a page's summary, as `[kv_heads * head_dim]`.
static std::vector<float> mean_key_of(const gpu::cache_dims& dims, const std::byte* summary) {
  const auto layout = gpu::summary_layout_of(dims, gpu::summary_mean_var);
  std::vector<float> out;
  for (std::uint32_t head = 0; head < dims.kv_heads; ++head) {
    const auto* mean = reinterpret_cast<const std::uint16_t*>(summary + head * layout.head_bytes
                                                              + layout.mean_offset);
    for (std::uint32_t c = 0; c < dims.head_dim; ++c)
      out.push_back(gpu::detail::f32_from_f16(mean[c]));
  }
  return out;
}

settle_order router_state::place(const settle_flow& f, sequence_id id, std::uint32_t page,
                                 std::span<const float> mean_key) {
  const auto& p = *f.policies;
  auto& s = *sequences_.find(id);
  const auto tokens = geometry_.page_tokens;
  policies::page_facts facts{id, f.layer, page, geometry_.first_position(page), tokens, {}};
  // The gate that labels a layer is that of the layer before: it is known when the page settles
  // and, unlike the layer's own, also when a query of this layer is routed.
  if (f.layer > 0 && !places_entries())
    facts.top_experts = top_experts(s.layers[f.layer - 1].gate, facts.first_position, tokens);
  facts.mean_key = mean_key;
  auto& layer = s.layers[f.layer];
  const auto shard = places_entries() ? shard_id{layer.sealed[page]}
                                      : p.placement->place_and_learn(facts, layer.placed);
  auto stored =
      p.compression->keeps_raw() ? context_->raw : p.compression->choose(facts, context_->raw);
  return {id, page, shard, context_->shards.owner(shard), stored};
}

void router_state::settle(const append_flow& f) {
  if (places_entries())
    return scatter(f);
  auto x = std::make_shared<settle_flow>();
  x->layer = f.request.layer;
  x->policies = f.policies;
  for (const auto& part : f.request.parts) {
    auto& layer = sequences_.find(part.sequence)->layers[x->layer];
    const auto target = geometry_.settled_pages(layer.appended);
    for (; layer.settled < target; ++layer.settled)
      x->pages[context_->home_of(part.sequence)].push_back({part.sequence, layer.settled});
  }
  for (const auto& [home, pages] : x->pages)
    x->policies->placement->needs_keys() ? describe(x, home) : order(*x, home);
}

/// Asks the home for the mean keys of its pages first. Nobody may read or append meanwhile: the
/// pages count as settled and are still in their window.
void router_state::describe(std::shared_ptr<settle_flow> f, device_id home) {
  auto own = std::make_shared<settle_flow>(settle_flow{f->layer, f->policies, {}, {}});
  own->pages[home] = f->pages[home];
  const auto& pages = own->pages[home];
  const auto bytes = gpu::summary_layout_of(context_->dims, gpu::summary_mean_var).bytes;
  auto block = context_->devices[home.value].device->scratch().allocate(bytes * pages.size());
  if (!block)
    return order(*own, home);                       // placed without
  std::memset(block->data(), 0xFF, block->bytes()); // NaN: not told
  own->keys = std::move(*block);
  for (const auto& x : pages)
    fence(x.sequence, f->layer, 1);
  auto go_on = [this, own, home] {
    order(*own, home);
    for (const auto& x : own->pages[home])
      fence(x.sequence, own->layer, -1);
    pump();
  };
  self_
      ->request(owner(home), context_->settings.limits.deadline,
                describe_work{f->layer, pages, own->keys.ref()})
      .then([go_on](ack_atom) { go_on(); },
            [go_on, own](const caf::error&) {
              own->keys = {};
              go_on();
            });
}

/// Places the pages of one home and has them settle.
void router_state::order(const settle_flow& f, device_id home) {
  const auto& p = *f.policies;
  settle_work w;
  w.layer = f.layer;
  w.summary_parts = p.summary_parts;
  w.key_facts_wanted = p.key_facts_wanted;
  const auto bytes = gpu::summary_layout_of(context_->dims, gpu::summary_mean_var).bytes;
  const auto& pages = f.pages.at(home);
  for (std::size_t i = 0; i < pages.size(); ++i) {
    if (sequences_.find(pages[i].sequence) == nullptr)
      continue; // closed while its pages were described
    std::vector<float> key;
    if (f.keys)
      key = mean_key_of(context_->dims, f.keys.data() + i * bytes);
    w.orders.push_back(place(f, pages[i].sequence, pages[i].page, key));
  }
  for (const auto& o : w.orders)
    if (auto& s = *sequences_.find(o.sequence); f.layer > 0)
      forget_before(s.layers[f.layer - 1].gate, geometry_.first_position(o.page + 1));
  // What only changes tables on one device needs no waiting: the owner's order is enough.
  const bool waits = p.budget->limits() || p.key_facts_wanted != 0
                     || std::ranges::any_of(w.orders, [&](const auto& o) {
                          return o.device != home || o.stored != context_->raw;
                        });
  if (waits)
    for (const auto& o : w.orders)
      fence(o.sequence, f.layer, 1);
  auto lift = [this, waits, w] {
    if (!waits)
      return;
    for (const auto& o : w.orders)
      fence(o.sequence, w.layer, -1);
    pump();
  };
  self_->request(owner(home), context_->settings.limits.deadline, w)
      .then(
          [this, w, version = p.version, limits = p.budget->limits(),
           lift](const settle_done& done) {
            settled(w, done);
            tell_scheduler(w.layer, version, done.settled, limits);
            lift();
          },
          [this, w, lift](const caf::error&) {
            settled(w, {});
            lift();
          });
}

void router_state::settled(const settle_work& asked, const settle_done& done) {
  notice_restarts();
  for (const auto& o : done.settled)
    if (auto* s = sequences_.find(o.sequence)) {
      auto& layer = s->layers[asked.layer];
      if (o.incarnation == owners_[o.device.value].incarnation)
        layer.arrived(o.page, o.device, o.shard.value);
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
