// SPDX-License-Identifier: Apache-2.0
// Entry granularity: entries of full window pages move to the open page of their shard. Open pages
// lie in the window, so kernels read them like any other page of it; their first position is the
// first after the sinks, which every query that is let in may see, with as many slots as they have
// (geometry.hpp tells why).
#include <algorithm>
#include <map>
#include <set>

#include <pikv/actors/shard_owner/state.hpp>
#include <pikv/messages/caf_error.hpp>

namespace pikv {

namespace {

/// Ids of open pages: above those of all pages that sequences can have, below sink_page.
constexpr std::uint32_t open_page = 0xC0000000;

/// Consecutive slots that go to consecutive slots.
struct slot_run {
  const std::byte* from = nullptr;
  std::byte* to = nullptr;
  std::uint32_t from_slot = 0;
  std::uint32_t to_slot = 0;
  std::uint32_t slots = 0;
};

/// K lies channel by channel with the slots of each side by side, V slot by slot.
void add_items(const slot_run& r, const gpu::cache_dims& dims, const gpu::page_layout& layout,
               std::size_t element, std::vector<gpu::copy_item>& items) {
  for (std::uint32_t head = 0; head < dims.kv_heads; ++head) {
    const auto k = head * layout.head_bytes + layout.k_offset;
    for (std::uint32_t c = 0; c < dims.head_dim; ++c) {
      const auto row = k + std::size_t{c} * dims.page_tokens * element;
      items.push_back({r.from + row + r.from_slot * element, r.to + row + r.to_slot * element,
                       r.slots * element});
    }
    const auto v = head * layout.head_bytes + layout.v_offset;
    const auto line = dims.head_dim * element;
    items.push_back({r.from + v + r.from_slot * line, r.to + v + r.to_slot * line, r.slots * line});
  }
}

/// What the entries of one page need: how full their shards' open pages are, as they go by.
struct room {
  std::uint32_t filled = 0;
  bool there = false;
};

std::size_t find_page(const page_table& window, std::uint32_t page) {
  const auto it = std::ranges::find(window.memory, page, &page_memory::page);
  return static_cast<std::size_t>(it - window.memory.begin());
}

/// New pages for one scatter: fresh ones and private copies of shared ones.
std::size_t pages_needed(const scatter_part& part, const owned_layer& layer,
                         std::uint32_t page_tokens) {
  const auto& window = layer.window.read();
  std::map<std::uint16_t, room> rooms;
  std::size_t n = 0;
  for (const auto shard : part.shards) {
    const auto [it, first] = rooms.try_emplace(shard);
    auto& x = it->second;
    if (const auto at = find_page(window, open_page + shard); first && at < window.memory.size()) {
      x = {window.views[at].tokens, true};
      n += !layer.shared_open.empty() && layer.shared_open[shard] ? 1U : 0U;
    }
    n += x.there ? 0U : 1U;
    x.there = ++x.filled < page_tokens;
    x.filled %= page_tokens;
  }
  return n;
}

} // namespace

/// The device work of one message; its blocks keep every page alive until it has run.
struct shard_owner_state::scattering {
  std::vector<gpu::copy_item> copies; ///< whole pages that forks share, before all else
  std::vector<slot_run> runs;
  std::vector<gpu::block> blocks;
};

/// The window index of the shard's open page, ready to take an entry: a new page or a private copy
/// from `fresh` where that is needed.
std::size_t shard_owner_state::open_page_of(owned_layer& layer, std::uint16_t shard,
                                            std::vector<gpu::block>& fresh, scattering& job) {
  auto& window = layer.window.write();
  auto at = find_page(window, open_page + shard);
  const bool is_new = at == window.memory.size();
  const bool shared = !layer.shared_open.empty() && layer.shared_open[shard];
  if (is_new) {
    at = !window.memory.empty() && window.memory.front().page == sink_page ? 1 : 0;
    const auto offset = static_cast<std::ptrdiff_t>(at);
    window.memory.insert(window.memory.begin() + offset, {{}, {}, open_page + shard});
    window.views.insert(window.views.begin() + offset,
                        {nullptr, nullptr, geometry_.sinks, 0, context_->raw, gpu::summary_none,
                         shard_id{shard}});
  }
  auto& data = window.memory[at].data;
  if (!is_new && shared) {
    job.copies.push_back({data.data(), fresh.back().data(), raw_layout_.page_bytes});
    job.blocks.push_back(data);
  }
  if (is_new || shared) {
    data = std::move(fresh.back());
    fresh.pop_back();
    window.views[at].data = data.data();
  }
  if (shared)
    layer.shared_open[shard] = false;
  job.blocks.push_back(data);
  return at;
}

/// False: memory ended, and nothing has changed.
bool shard_owner_state::scatter_page(const scatter_part& part, owned_layer& layer,
                                     scattering& job) {
  std::vector<gpu::block> fresh(pages_needed(part, layer, dims().page_tokens));
  for (auto& block : fresh) {
    auto made = device().device->memory().allocate(raw_layout_.page_bytes);
    if (!made)
      return false;
    block = std::move(*made);
  }
  auto& window = layer.window.write();
  const auto gone = static_cast<std::ptrdiff_t>(find_page(window, part.page));
  const auto source = window.memory[static_cast<std::size_t>(gone)].data;
  job.blocks.push_back(source);
  // First of all: a page that is sealed on the way may get the number of this one.
  window.memory.erase(window.memory.begin() + gone);
  window.views.erase(window.views.begin() + gone);
  for (std::uint32_t slot = 0; slot < part.shards.size(); ++slot) {
    const auto shard = part.shards[slot];
    const auto at = open_page_of(layer, shard, fresh, job);
    auto& memory = window.memory[at];
    auto& view = window.views[at];
    auto& runs = job.runs;
    if (slot > 0 && runs.back().to == memory.data.data())
      ++runs.back().slots;
    else
      runs.push_back({source.data(), memory.data.data(), slot, view.tokens, 1});
    if (++view.tokens == dims().page_tokens) {
      memory.page = static_cast<std::uint32_t>(layer.sealed.size());
      view.first_position = geometry_.first_position(memory.page);
      layer.sealed.push_back(shard);
    }
  }
  ++layer.scattered;
  return true;
}

void shard_owner_state::scatter(const scatter_work& w, promise<scatter_done> p) {
  auto job = std::make_shared<scattering>();
  scatter_done done;
  std::map<sequence_id, std::uint32_t> known;
  std::set<sequence_id> stuck;
  for (const auto& part : w.parts) {
    auto* s = find(part.sequence);
    if (s == nullptr)
      continue;
    auto& layer = s->layers[w.layer];
    known.emplace(part.sequence, part.sealed_known);
    if (part.shards.empty() || stuck.contains(part.sequence))
      continue;
    if (part.page >= layer.scattered) {
      const auto& window = layer.window.read();
      const auto at = find_page(window, part.page);
      if (part.page != layer.scattered || at == window.memory.size()
          || window.views[at].tokens != dims().page_tokens || !scatter_page(part, layer, *job)) {
        stuck.insert(part.sequence); // it stays in the window, and what follows it too
        continue;
      }
    }
    done.moved.push_back({part.sequence, part.page, {}, {}, context_->raw});
  }
  for (const auto& [id, from] : known) {
    const auto& sealed = find(id)->layers[w.layer].sealed;
    for (auto k = from; k < sealed.size(); ++k)
      done.sealed.push_back({id, k, shard_id{sealed[k]}, {}, context_->raw});
  }
  // Later work of this device is behind this on the stream, so nobody has to wait for it.
  if (!job->runs.empty())
    jobs_.launch(
        self_, *device().compute, "scatter",
        [job, of = dims(), layout = raw_layout_, element = size_of(context_->settings.cache.stored),
         &kernels = device().device->kernels()](gpu::executor& x, error&) {
          if (!job->copies.empty())
            kernels.copy(job->copies, x);
          std::vector<gpu::copy_item> items;
          for (const auto& run : job->runs)
            add_items(run, of, layout, element, items);
          kernels.copy(items, x);
        },
        [] {}, [](const error&) {});
  p.deliver(std::move(done));
}

} // namespace pikv
