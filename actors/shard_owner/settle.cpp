// SPDX-License-Identifier: Apache-2.0
// Settling: window page -> (summary) -> (encoded) -> this device's table or another owner's. A page
// stays in the window, readable, until it has arrived; what fails on the way leaves it raw and
// here.
#include <algorithm>

#include <fmt/format.h>

#include <pikv/actors/shard_owner/page_keys.hpp>
#include <pikv/actors/shard_owner/state.hpp>
#include <pikv/messages/caf_error.hpp>

namespace pikv {

namespace {

/// A page on its way, with the memory that keeps it alive.
struct moving_page {
  settle_order order;
  page_record_ref record;
  gpu::block data;
  gpu::block summary;
};

gpu::page_view view_of(const page_record_ref& x, const gpu::block& data,
                       const gpu::block& summary) noexcept {
  return {data.data(),      summary ? summary.data() : nullptr,
          x.first_position, static_cast<std::uint16_t>(x.tokens),
          x.stored,         summary ? x.summary_parts : std::uint8_t{gpu::summary_none},
          x.shard};
}

} // namespace

struct shard_owner_state::settling {
  std::uint32_t layer = 0;
  std::vector<moving_page> pages;
  std::size_t waiting = 0; ///< replies that this step still waits for
  std::vector<settle_order> settled;
  promise<settle_done> reply;
  std::uint8_t summary_parts = 0;
  std::uint8_t facts_wanted = 0;
  gpu::block summaries; ///< with facts_wanted: copies for the host, in the order of `pages`
};

void shard_owner_state::take_orders(const settle_work& w, settling& s) {
  for (const auto& order : w.orders) {
    auto* sequence = find(order.sequence);
    if (sequence == nullptr)
      continue;
    const auto& window = sequence->layers[w.layer].window.read();
    auto it = std::ranges::find(window.memory, order.page, &page_memory::page);
    if (it == window.memory.end())
      continue;
    const auto& view = window.views[static_cast<std::size_t>(it - window.memory.begin())];
    if (view.tokens != dims().page_tokens)
      continue; // the append that filled it failed
    moving_page page{order, {}, it->data, {}};
    page.record = {order.sequence, w.layer,     order.page,        view.first_position, view.tokens,
                   order.shard,    view.stored, gpu::summary_none, it->data.ref(),      {}};
    s.pages.push_back(std::move(page));
  }
}

void shard_owner_state::settle(const settle_work& w, promise<settle_done> p) {
  auto s = std::make_shared<settling>();
  s->layer = w.layer;
  s->reply = std::move(p);
  take_orders(w, *s);
  s->summary_parts = w.summary_parts;
  s->facts_wanted = w.key_facts_wanted;
  auto stays = [this](const moving_page& x) {
    return x.order.device == device_ && x.order.stored == context_->raw;
  };
  if (s->facts_wanted != 0 || !std::ranges::all_of(s->pages, stays)) {
    summarise(w, s);
    return;
  }
  // Nothing to wait for: the pages change their table now, summaries follow in stream order.
  summarise(w, s);
  for (auto& x : s->pages) {
    leave_window(x.order.sequence, s->layer, x.order.page);
    adopt_local(x.record, x.data, x.summary);
    x.order.incarnation = incarnation_;
    s->settled.push_back(x.order);
  }
  s->pages.clear();
  finish_settle(s);
}

void shard_owner_state::summarise(const settle_work& w, const std::shared_ptr<settling>& s) {
  auto bytes = gpu::summary_layout_of(dims(), w.summary_parts).bytes;
  auto views = std::make_shared<std::vector<gpu::page_view>>();
  auto out = std::make_shared<std::vector<std::byte*>>();
  auto blocks = std::make_shared<std::vector<gpu::block>>();
  for (auto& x : s->pages) {
    if (bytes == 0)
      break;
    auto block = device().device->memory().allocate(bytes);
    if (!block)
      break; // summaries that are missing are made by the survey that wants them
    x.summary = std::move(*block);
    x.record.summary_parts = w.summary_parts;
    x.record.summary = x.summary.ref();
    views->push_back(view_of(x.record, x.data, {}));
    out->push_back(x.summary.data());
    blocks->push_back(x.data);
    blocks->push_back(x.summary);
  }
  if (s->facts_wanted != 0 && !out->empty())
    if (auto copies = scratch(out->size() * bytes))
      s->summaries = std::move(*copies); // else the facts stay unknown
  auto task = [this_dims = dims(), parts = w.summary_parts, bytes, views, out, blocks,
               copies = s->summaries,
               &kernels = device().device->kernels()](gpu::executor& x, error&) {
    if (views->empty())
      return;
    kernels.summarise({this_dims, parts, *views, *out}, x);
    std::vector<gpu::copy_item> items;
    for (std::size_t i = 0; copies && i < out->size(); ++i)
      items.push_back({(*out)[i], copies.data() + i * bytes, bytes});
    if (!items.empty())
      kernels.copy(items, x);
  };
  const bool waits = s->facts_wanted != 0 || !std::ranges::all_of(s->pages, [this](const moving_page& x) {
    return x.order.device == device_ && x.order.stored == context_->raw;
  });
  if (!waits) {
    if (!views->empty())
      jobs_.launch(
          self_, *device().compute, "summarise", task, [] {}, [](const error&) {});
    return;
  }
  // The task also marks the point where the appended bytes are there to be encoded or copied.
  jobs_.launch(
      self_, *device().compute, "summarise", task,
      [this, s] {
        take_facts(*s);
        encode(s);
      },
      [s](const error& e) { s->reply.deliver(to_caf(e)); });
}

/// From the copies of the summaries: those of the first pages, where memory ended before the last.
void shard_owner_state::take_facts(settling& s) {
  const auto layout = gpu::summary_layout_of(dims(), s.summary_parts);
  std::size_t copied = 0;
  for (auto& x : s.pages) {
    auto* sequence = find(x.order.sequence);
    if (!s.summaries || !x.summary || sequence == nullptr)
      break;
    x.order.keys = facts_of(s.summaries.data() + copied++ * layout.bytes, layout, dims(),
                            s.facts_wanted, sequence->layers[s.layer].key_direction);
  }
  s.summaries = {};
}

void shard_owner_state::encode(std::shared_ptr<settling> s) {
  std::map<form, encode_work> batches;
  auto targets =
      std::make_shared<std::map<form, std::vector<std::pair<std::size_t, gpu::block>>>>();
  std::uint64_t no_memory = 0;
  for (std::size_t i = 0; i < s->pages.size(); ++i) {
    auto& x = s->pages[i];
    if (x.order.stored == x.record.stored)
      continue;
    auto block =
        device().device->memory().allocate(gpu::layout_of(dims(), x.order.stored).page_bytes);
    if (!block) {
      ++no_memory;
      continue;
    }
    auto& batch = batches[x.order.stored];
    batch.target = x.order.stored;
    batch.pages.push_back(x.record);
    batch.out.push_back(block->ref());
    (*targets)[x.order.stored].emplace_back(i, std::move(*block));
  }
  if (no_memory > 0)
    probe_->kept_raw(no_memory, monitoring::kept_raw_reason::memory);
  s->waiting = batches.size();
  if (batches.empty())
    return move(std::move(s));
  auto done = [this, s] {
    if (--s->waiting == 0)
      move(s);
  };
  for (auto& [target, batch] : batches) {
    self_
        ->request(context_->compressors.get(device_.value).handle,
                  context_->settings.limits.deadline, batch)
        .then(
            [this, s, targets, done, kind = target](const encode_done& r) {
              auto& list = (*targets)[kind];
              for (std::size_t i = 0; i < list.size() && i < r.representable.size(); ++i) {
                auto& [index, block] = list[i];
                if (r.representable[i] == 0) {
                  probe_->kept_raw(1, monitoring::kept_raw_reason::not_finite);
                  continue;
                }
                auto& x = s->pages[index];
                x.record.stored = kind;
                x.record.data = block.ref();
                x.data = std::move(block);
              }
              done();
            },
            [this, n = batch.pages.size(), done](const caf::error&) {
              probe_->kept_raw(n, monitoring::kept_raw_reason::failed);
              done();
            });
  }
}

void shard_owner_state::move(std::shared_ptr<settling> s) {
  std::map<device_id, move_work> batches;
  std::map<device_id, std::vector<std::size_t>> members;
  for (std::size_t i = 0; i < s->pages.size(); ++i) {
    auto& x = s->pages[i];
    if (x.order.device == device_)
      continue;
    auto& batch = batches[x.order.device];
    batch.target = x.order.device;
    batch.pages.push_back(x.record);
    members[x.order.device].push_back(i);
  }
  s->waiting = batches.size();
  if (batches.empty())
    return finish_settle(s);
  auto done = [this, s] {
    if (--s->waiting == 0)
      finish_settle(s);
  };
  for (auto& [target, batch] : batches) {
    self_->request(context_->transfer.get(0).handle, context_->settings.limits.deadline, batch)
        .then(
            [s, done, list = members[target]](const move_done& r) {
              for (auto i : list)
                s->pages[i].order.incarnation = r.incarnation;
              done();
            },
            [this, s, done, list = members[target], to = target](const caf::error&) {
              truncate_work given_up{s->layer, {}};
              for (auto i : list) {
                auto& x = s->pages[i];
                x.order.device = device_; // it stays here
                given_up.parts.push_back(
                    {x.order.sequence, x.record.first_position, x.record.tokens, 0});
              }
              // The transfer may have gone down after the other owner adopted them.
              self_
                  ->request(context_->owners.get(to.value).handle,
                            context_->settings.limits.deadline, std::move(given_up))
                  .then([done](ack_atom) { done(); }, [done](const caf::error&) { done(); });
            });
  }
}

void shard_owner_state::finish_settle(const std::shared_ptr<settling>& s) {
  for (auto& x : s->pages) {
    if (!leave_window(x.order.sequence, s->layer, x.order.page)) {
      // Closed or dropped meanwhile, maybe before its page got there.
      if (x.order.device != device_ && find(x.order.sequence) == nullptr)
        caf::anon_send(context_->owners.get(x.order.device.value).handle,
                       sequence_work{sequence_verb::close, x.order.sequence, {}});
      continue;
    }
    if (x.order.device == device_) {
      adopt_local(x.record, x.data, x.summary);
      x.order.incarnation = incarnation_;
    }
    x.order.stored = x.record.stored;
    s->settled.push_back(x.order);
  }
  s->reply.deliver(settle_done{std::move(s->settled)});
}

bool shard_owner_state::leave_window(sequence_id sequence, std::uint32_t layer,
                                     std::uint32_t page) {
  auto* s = find(sequence);
  if (s == nullptr)
    return false;
  auto& window = s->layers[layer].window.write();
  auto it = std::ranges::find(window.memory, page, &page_memory::page);
  if (it == window.memory.end())
    return false;
  window.views.erase(window.views.begin() + (it - window.memory.begin()));
  window.memory.erase(it);
  return true;
}

void shard_owner_state::adopt_local(const page_record_ref& page, gpu::block data,
                                    gpu::block summary) {
  auto& settled = find_or_make(page.sequence).layers[page.layer].settled;
  const auto& pages = settled.read().memory;
  const auto view = view_of(page, data, summary);
  if (pages.empty() || pages.back().page < page.page) {
    auto& table = settled.extend();
    table.views.push_back(view);
    table.memory.push_back({std::move(data), std::move(summary), page.page});
  } else { // an older page that comes from another device
    auto& table = settled.write();
    const auto at = std::ranges::lower_bound(table.memory, page.page, {}, &page_memory::page);
    table.views.insert(table.views.begin() + (at - table.memory.begin()), view);
    table.memory.insert(at, {std::move(data), std::move(summary), page.page});
  }
  count_page(view, 1);
  if (!page.resettled)
    probe_->settled(1, page.stored);
  enter_ring({page.sequence, page.layer, page.page}, page.shard);
}

result<void> shard_owner_state::adopt(const adopt_work& w) {
  auto& memory = device().device->memory();
  for (const auto& x : w.pages) {
    if (!context_->open.contains(x.sequence))
      continue; // closed on the way: nobody would ever drop the page
    auto data = memory.share(x.data);
    if (!data)
      return data.error();
    gpu::block summary;
    if (x.summary.bytes > 0) {
      auto shared = memory.share(x.summary);
      if (!shared)
        return shared.error();
      summary = std::move(*shared);
    }
    adopt_local(x, std::move(*data), std::move(summary));
  }
  return {};
}

void shard_owner_state::drop_settled(owned_layer& layer, std::uint32_t position) {
  auto& table = layer.settled.write();
  auto it = std::ranges::find(table.views, position, &gpu::page_view::first_position);
  if (it == table.views.end())
    return;
  if (it->data != nullptr)
    count_page(*it, -1);
  table.memory.erase(table.memory.begin() + (it - table.views.begin()));
  table.views.erase(it);
}

void shard_owner_state::enter_ring(const ring_slot& slot, shard_id shard) {
  const auto capacity = context_->settings.cache.shard_capacity_pages;
  if (capacity == 0)
    return;
  auto& ring = rings_[shard.value];
  ring.push_back(slot);
  while (ring.size() > capacity) {
    auto oldest = ring.front();
    ring.pop_front();
    evict_page(oldest, evict_reason::ring);
  }
}

std::uint64_t shard_owner_state::evict_page(const ring_slot& slot, evict_reason reason) {
  auto* s = find(slot.sequence);
  if (s == nullptr || (s->pinned && reason != evict_reason::ring))
    return 0;
  auto& layer = s->layers[slot.layer];
  const auto& memory = layer.settled.read().memory;
  auto it = std::ranges::lower_bound(memory, slot.page, {}, &page_memory::page);
  if (it == memory.end() || it->page != slot.page || !it->data)
    return 0;
  auto index = static_cast<std::size_t>(it - memory.begin());
  auto& table = layer.settled.write();
  count_page(table.views[index], -1);
  table.views[index].data = nullptr;
  table.views[index].summary = nullptr;
  table.memory[index] = {{}, {}, slot.page};
  ++pages_evicted_;
  probe_->evicted(1, table.views[index].tokens, reason);
  return 1;
}

std::uint64_t shard_owner_state::evict(const evict_work& w) {
  std::uint64_t pages = 0;
  for (auto page : w.pages)
    pages += evict_page({w.sequence, w.layer, page}, w.reason);
  return pages;
}

} // namespace pikv
