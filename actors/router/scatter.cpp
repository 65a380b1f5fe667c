// SPDX-License-Identifier: Apache-2.0
// Entry granularity: what leaves a window is placed entry by entry. The home moves the entries into
// the open pages of their shards; those that get full settle as pages do (settle.cpp). Nobody reads
// or appends to the layer meanwhile.
#include <algorithm>
#include <cstring>
#include <set>

#include <pikv/actors/router/append_flow.hpp>
#include <pikv/gpu/host/half.hpp>

namespace pikv {

namespace {

float value_at(const std::byte* from, form stored, std::size_t i) {
  if (stored == form::f32) {
    float x = 0;
    std::memcpy(&x, from + i * sizeof x, sizeof x);
    return x;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, from + i * sizeof bits, sizeof bits);
  return stored == form::f16 ? gpu::detail::f32_from_f16(bits) : gpu::detail::f32_from_bf16(bits);
}

/// The key in one slot of a raw page, as `[kv_heads * head_dim]`.
std::vector<float> key_of(const gpu::cache_dims& dims, form stored, const std::byte* page,
                          std::uint32_t slot) {
  const auto layout = gpu::layout_of(dims, stored);
  std::vector<float> out;
  for (std::uint32_t head = 0; head < dims.kv_heads; ++head)
    for (std::uint32_t c = 0; c < dims.head_dim; ++c)
      out.push_back(value_at(page + head * layout.head_bytes + layout.k_offset, stored,
                             std::size_t{c} * dims.page_tokens + slot));
  return out;
}

} // namespace

bool router_state::places_entries() const noexcept {
  return context_->settings.cache.granularity == config::settle_granularity::entry;
}

void router_state::scatter(const append_flow& f) {
  std::map<device_id, std::shared_ptr<settle_flow>> flows;
  for (const auto& part : f.request.parts) {
    const auto& layer = sequences_.find(part.sequence)->layers[f.request.layer];
    // Of the rows just appended the first sees least, and an entry in a shard's page is seen by all.
    const auto target = geometry_.settled_pages(part.position + 1);
    const auto home = context_->home_of(part.sequence);
    auto& x = flows[home];
    if (!x)
      x = std::make_shared<settle_flow>(settle_flow{f.request.layer, f.policies, {}, {}});
    for (auto page = layer.scattered; page < target; ++page)
      x->pages[home].push_back({part.sequence, page});
  }
  for (const auto& [home, x] : flows) {
    if (x->pages.empty())
      continue;
    for (const auto& o : x->pages[home])
      fence(o.sequence, x->layer, 1);
    f.policies->placement->needs_keys() ? read_keys(x, home) : send_entries(x, home);
  }
}

/// Fetches the pages themselves: every entry's key counts.
void router_state::read_keys(std::shared_ptr<settle_flow> f, device_id home) {
  const auto& pages = f->pages[home];
  const auto bytes = gpu::layout_of(context_->dims, context_->raw).page_bytes;
  auto block = context_->devices[home.value].device->scratch().allocate(bytes * pages.size());
  if (!block)
    return send_entries(f, home);                   // placed without
  std::memset(block->data(), 0xFF, block->bytes()); // NaN: not told
  f->keys = std::move(*block);
  self_
      ->request(owner(home), context_->settings.limits.deadline,
                describe_work{f->layer, pages, f->keys.ref(), true})
      .then([this, f, home](ack_atom) { send_entries(f, home); },
            [this, f, home](const caf::error&) {
              f->keys = {};
              send_entries(f, home);
            });
}

/// The shards of the slots of a window page. `raw` is the page, or null.
std::vector<std::uint16_t> router_state::assign(const settle_flow& f, sequence_id id,
                                                std::uint32_t page, const std::byte* raw) {
  auto& s = *sequences_.find(id);
  std::vector<std::uint16_t> shards;
  for (std::uint32_t slot = 0; slot < geometry_.page_tokens; ++slot) {
    const auto position = geometry_.first_position(page) + slot;
    policies::page_facts facts{id, f.layer, position, position, 1, {}};
    if (f.layer > 0)
      facts.top_experts = top_experts(s.layers[f.layer - 1].gate, position, 1);
    std::vector<float> key;
    if (raw != nullptr)
      key = key_of(context_->dims, context_->raw, raw, slot);
    facts.mean_key = key;
    const auto shard = f.policies->placement->place_and_learn(facts, s.layers[f.layer].placed);
    shards.push_back(static_cast<std::uint16_t>(shard.value));
  }
  return shards;
}

void router_state::send_entries(std::shared_ptr<settle_flow> f, device_id home) {
  scatter_work w;
  w.layer = f->layer;
  const auto& pages = f->pages[home];
  const auto bytes = gpu::layout_of(context_->dims, context_->raw).page_bytes;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    auto* s = sequences_.find(pages[i].sequence);
    if (s == nullptr)
      continue; // closed meanwhile
    auto& layer = s->layers[f->layer];
    const auto page = pages[i].page;
    // Placed once: a placement that learns must not hear of an entry again when memory ended.
    if (page - layer.scattered >= layer.assigned.size())
      layer.assigned.push_back(assign(*f, pages[i].sequence, page,
                                      f->keys ? f->keys.data() + i * bytes : nullptr));
    w.parts.push_back({pages[i].sequence, page, static_cast<std::uint32_t>(layer.sealed.size()),
                       layer.assigned[page - layer.scattered]});
    if (f->layer > 0)
      forget_before(s->layers[f->layer - 1].gate, geometry_.first_position(page + 1));
  }
  f->keys = {};
  auto lift = [this, f, home] {
    for (const auto& o : f->pages[home])
      fence(o.sequence, f->layer, -1);
    pump();
  };
  self_->request(owner(home), context_->settings.limits.deadline, w)
      .then(
          [this, f, home, lift](const scatter_done& done) {
            scattered(*f, home, done);
            lift();
          },
          [lift](const caf::error&) { lift(); }); // asked again with the next append
}

void router_state::scattered(const settle_flow& f, device_id home, const scatter_done& done) {
  settle_flow next{f.layer, f.policies, {}, {}};
  std::set<sequence_id> touched;
  for (const auto& o : done.moved)
    if (auto* s = sequences_.find(o.sequence)) {
      auto& layer = s->layers[f.layer];
      touched.insert(o.sequence);
      if (o.page != layer.scattered)
        continue;
      ++layer.scattered;
      layer.assigned.erase(layer.assigned.begin());
    }
  for (const auto& o : done.sealed)
    if (auto* s = sequences_.find(o.sequence))
      if (auto& sealed = s->layers[f.layer].sealed; o.page == sealed.size())
        sealed.push_back(static_cast<std::uint16_t>(o.shard.value));
  for (const auto id : touched) {
    auto& layer = sequences_.find(id)->layers[f.layer];
    for (; layer.settled < layer.sealed.size(); ++layer.settled)
      next.pages[home].push_back({id, layer.settled});
  }
  if (!next.pages.empty())
    order(next, home);
}

} // namespace pikv
