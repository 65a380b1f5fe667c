// SPDX-License-Identifier: Apache-2.0
// Sequences come, fork and go; accounts of what this device holds.
#include <algorithm>
#include <numeric>
#include <unordered_set>

#include <fmt/format.h>

#include <pikv/actors/shard_owner/state.hpp>
#include <pikv/messages/caf_error.hpp>

namespace pikv {

void shard_owner_state::start(pointer self, context_ptr context, device_id device,
                              std::uint64_t incarnation) {
  self_ = self;
  context_ = std::move(context);
  device_ = device;
  incarnation_ = incarnation;
  const auto& cache = context_->settings.cache;
  geometry_ = {cache.sinks, cache.page_tokens, cache.window};
  raw_layout_ = gpu::layout_of(dims(), context_->raw);
  rings_.resize(cache.shards);
  shard_pages_.resize(cache.shards);
  probe_ = context_->metrics->owner(device, cache.shards);
  actor_probe_ = context_->metrics->actor(monitoring::actor_kind::shard_owner, device.value);
}

error gone(sequence_id x) {
  return {errc::sequence_lost,
          fmt::format("sequence {} was lost with an actor that went down; close it and open it anew",
                      x.value)};
}

void shard_owner_state::wait_until_ready(ticket_id ticket) {
  if (auto r = context_->requests.find(ticket); r && r->buffers.ready.recorded())
    device().compute->wait(r->buffers.ready);
}

owned_sequence* shard_owner_state::find(sequence_id x) {
  auto it = sequences_.find(x);
  return it == sequences_.end() ? nullptr : &it->second;
}

owned_sequence& shard_owner_state::find_or_make(sequence_id x) {
  auto [it, fresh] = sequences_.try_emplace(x);
  if (fresh) {
    it->second.lane = context_->lane_of(x);
    it->second.layers.resize(context_->shape.layers);
  }
  return it->second;
}

result<void> shard_owner_state::change(const sequence_work& w) {
  if (w.verb == sequence_verb::open) {
    find_or_make(w.sequence);
    return {};
  }
  auto* s = find(w.sequence);
  if (s == nullptr)
    return {}; // nothing of it has come to this device
  switch (w.verb) {
  case sequence_verb::open: break;
  case sequence_verb::pin: s->pinned = true; break;
  case sequence_verb::unpin: s->pinned = false; break;
  case sequence_verb::close:
    count_sequence(*s, -1);
    probe_->freed(pages_held_alone(*s));
    sequences_.erase(w.sequence);
    break;
  case sequence_verb::fork: {
    const auto shards = context_->settings.cache.shards;
    for (auto& layer : s->layers) {
      layer.open_shared = true;
      if (layer.scattered > 0)
        layer.shared_open.assign(shards, true);
    }
    owned_sequence child;
    child.lane = context_->lane_of(w.child);
    s->shares = child.shares = true;
    child.broken = std::make_shared<std::atomic<bool>>(s->broken->load());
    for (const auto& layer : s->layers) {
      owned_layer copy;
      copy.appended = layer.appended;
      copy.open_shared = true;
      copy.scattered = layer.scattered;
      copy.sealed = layer.sealed;
      copy.shared_open = layer.shared_open;
      // Copies share the blocks; settled pages and full window pages never change,
      // and pages that are filled further are copied first.
      copy.window.write().views = layer.window.read().views;
      copy.window.write().memory = layer.window.read().memory;
      copy.settled.write().views = layer.settled.read().views;
      copy.settled.write().memory = layer.settled.read().memory;
      child.layers.push_back(std::move(copy));
    }
    count_sequence(child, 1);
    sequences_.insert_or_assign(w.child, std::move(child));
    break;
  }
  }
  return {};
}

void shard_owner_state::change_and_reply(const sequence_work& w, promise<ack_atom> p) {
  if (auto r = change(w); !r)
    p.deliver(to_caf(r.error()));
  else
    p.deliver(ack_atom_v);
}

void shard_owner_state::drop_lane(lane_id lane) {
  std::erase_if(sequences_, [this, lane](const auto& x) {
    if (x.second.lane != lane)
      return false;
    count_sequence(x.second, -1);
    return true;
  });
  std::erase_if(held_, [lane](const auto& x) { return x.second.lane == lane; });
}

owner_usage shard_owner_state::usage() const {
  owner_usage u;
  std::unordered_set<const std::byte*> seen; // forks share blocks: count each once
  auto bytes_of = [&seen](const gpu::block& b) -> std::uint64_t {
    return b && seen.insert(b.data()).second ? b.bytes() : 0;
  };
  for (const auto& [id, s] : sequences_) {
    u.table_bytes += sizeof(s) + s.layers.capacity() * sizeof(owned_layer);
    u.sequences += context_->home_of(id) == device_ ? 1U : 0U;
    for (const auto& layer : s.layers) {
      u.entries += layer.appended;
      u.pages_window += layer.window.read().views.size();
      for (const auto* table : {&layer.window.read(), &layer.settled.read()}) {
        u.table_bytes += table->bytes();
        u.table_copy_bytes += table->copy_bytes();
        for (const auto& m : table->memory) {
          u.page_bytes += bytes_of(m.data);
          u.summary_bytes += bytes_of(m.summary);
        }
      }
      for (const auto& m : layer.settled.read().memory)
        ++(m.data ? u.pages_settled : u.pages_evicted);
    }
  }
  const auto arena = context_->devices[device_.value].device->memory().usage();
  u.reserved_bytes = arena.reserved;
  u.used_bytes = arena.used;
  return u;
}

void shard_owner_state::announce() {
  for (const auto& [id, s] : sequences_)
    for (std::uint32_t l = 0; l < s.layers.size(); ++l) {
      settled_event e{0, l, id, 0, {}};
      const auto& table = s.layers[l].settled.read();
      for (std::size_t i = 0; i < table.views.size(); ++i)
        if (table.views[i].data != nullptr)
          e.pages.push_back(
              {id, table.memory[i].page, table.views[i].shard, device_, table.views[i].stored});
      if (!e.pages.empty())
        caf::anon_send(context_->scheduler.get(0).handle, std::move(e));
    }
}

void shard_owner_state::count_page(const gpu::page_view& view, int direction) noexcept {
  auto& n = shard_pages_[view.shard.value];
  n = direction > 0 ? n + 1 : n - 1;
  auto bytes = gpu::summary_layout_of(dims(), view.summary_parts).bytes;
  summary_bytes_ = direction > 0 ? summary_bytes_ + bytes : summary_bytes_ - bytes;
}

void shard_owner_state::count_sequence(const owned_sequence& s, int direction) noexcept {
  for (const auto& layer : s.layers)
    for (const auto& view : layer.settled.read().views)
      if (view.data != nullptr)
        count_page(view, direction);
}

/// Settled pages that go with this sequence; those that a relative holds too stay.
std::uint64_t shard_owner_state::pages_held_alone(const owned_sequence& s) const {
  std::unordered_set<const std::byte*> elsewhere;
  if (s.shares)
    for (const auto& [id, other] : sequences_)
      if (&other != &s && other.shares)
        for (const auto& layer : other.layers)
          for (const auto& m : layer.settled.read().memory)
            elsewhere.insert(m.data.data());
  std::uint64_t pages = 0;
  for (const auto& layer : s.layers)
    for (const auto& m : layer.settled.read().memory)
      pages += m.data && !elsewhere.contains(m.data.data()) ? 1U : 0U;
  return pages;
}

void shard_owner_state::tick() {
  auto& d = device();
  auto memory = d.device->memory().usage();
  std::uint64_t window = 0;
  for (const auto& [id, s] : sequences_)
    for (const auto& layer : s.layers)
      window += layer.window.read().views.size();
  probe_->pages(window,
                std::accumulate(shard_pages_.begin(), shard_pages_.end(), std::uint64_t{0}));
  auto summaries = std::min<std::uint64_t>(summary_bytes_, memory.requested);
  probe_->bytes({memory.requested - summaries, summaries, memory.reserved, memory.capacity,
                 d.device->scratch().usage().reserved});
  probe_->shard_pages(shard_pages_);
  const gpu::stream* streams[] = {d.compute.get(), d.codec.get(), d.copy.get()};
  constexpr monitoring::stream_role roles[] = {monitoring::stream_role::attend,
                                               monitoring::stream_role::encode,
                                               monitoring::stream_role::transfer};
  for (std::size_t i = 0; i < 3; ++i) {
    auto busy = streams[i]->usage().busy;
    probe_->stream_busy(roles[i], std::chrono::duration<double>(busy - busy_[i]).count());
    busy_[i] = busy;
  }
  actor_probe_->mailbox_depth(self_->mailbox().size());
  probe_->flush();
}

} // namespace pikv
