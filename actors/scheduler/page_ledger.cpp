// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/scheduler/page_ledger.hpp>

#include <algorithm>
#include <tuple>

namespace pikv {

void page_ledger::settled(const settled_event& e, std::uint32_t sinks) {
  auto& layer = sequences_[e.sequence].layers[e.layer];
  if (e.entries > 0)
    layer.last_position = static_cast<std::uint32_t>(e.entries - 1);
  for (const auto& o : e.pages) {
    paged_entry x;
    x.page = o.page;
    x.record.first_position = sinks + o.page * page_tokens_;
    x.record.tokens = page_tokens_;
    x.record.tag = static_cast<std::uint16_t>(std::min<std::uint32_t>(e.layer, 0xFFFF));
    x.record.keys = o.keys;
    uses_.settled(x.record, tick_);
    x.rows_at_settle = layer.rows;
    x.device = o.device;
    x.stored = o.stored;
    auto at = std::ranges::lower_bound(layer.pages, o.page, {}, &paged_entry::page);
    if (at != layer.pages.end() && at->page == o.page) {
      *at = x;
      continue;
    }
    layer.pages.insert(at, x); // at the end, but for pages that settle out of order
    layer.settled_end = std::max(layer.settled_end, o.page + 1);
    ++settling_;
    ++pages_;
  }
}

void page_ledger::fork(sequence_id parent, sequence_id child) {
  if (auto it = sequences_.find(parent); it != sequences_.end()) {
    auto copy = it->second;
    copy.pinned = false;
    sequences_.insert_or_assign(child, std::move(copy));
    count_pages();
  }
}

void page_ledger::close(sequence_id x) {
  if (auto it = sequences_.find(x); it != sequences_.end()) {
    for (const auto& [index, layer] : it->second.layers)
      pages_ -= layer.pages.size();
    sequences_.erase(it);
  }
}

void page_ledger::count_pages() noexcept {
  pages_ = 0;
  for (const auto& [id, s] : sequences_)
    for (const auto& [index, layer] : s.layers)
      pages_ += layer.pages.size();
}

void page_ledger::pin(sequence_id x, bool pinned) { sequences_[x].pinned = pinned; }

void page_ledger::forget_device(device_id device) {
  for (auto& [id, s] : sequences_)
    for (auto& [index, layer] : s.layers)
      std::erase_if(layer.pages, [device](const auto& x) { return x.device == device; });
  count_pages();
}

std::uint64_t page_ledger::kept_tokens(sequence_id sequence, std::uint32_t layer) const {
  auto s = sequences_.find(sequence);
  if (s == sequences_.end())
    return 0;
  auto l = s->second.layers.find(layer);
  return l == s->second.layers.end() ? 0 : l->second.pages.size() * page_tokens_;
}

void page_ledger::collect(sequence_id id, std::uint32_t layer, const layer_ledger& l,
                          const policies::scheduling_policy& policy,
                          std::vector<candidate>& out) const {
  const policies::schedule_context context{tick_, l.last_position, l.last_prompt_at};
  for (const auto& x : l.pages) {
    auto record = x.record;
    record.queries = l.rows - x.rows_at_settle;
    const bool fresh = policy.needs_mass() && record.queries == 0;
    out.push_back({fresh,
                   policy.utility(record, context),
                   record.first_position,
                   {id, layer, x.page, x.device, x.stored}});
  }
}

std::vector<victim> page_ledger::take(std::vector<candidate> list, std::size_t count) {
  count = std::min(count, list.size());
  auto key = [](const candidate& c) {
    return std::tuple{c.fresh, c.utility, c.first_position, c.page.sequence.value, c.page.layer};
  };
  std::ranges::partial_sort(list, list.begin() + static_cast<std::ptrdiff_t>(count), {}, key);
  pages_ -= count;
  std::vector<victim> victims;
  std::map<std::pair<sequence_id, std::uint32_t>, std::vector<std::uint32_t>> by_layer;
  for (std::size_t i = 0; i < count; ++i) {
    const auto& v = list[i].page;
    by_layer[{v.sequence, v.layer}].push_back(v.page);
    victims.push_back(v);
  }
  for (auto& [where, gone] : by_layer) {
    std::ranges::sort(gone);
    std::erase_if(
        sequences_[where.first].layers[where.second].pages,
        [&gone = gone](const paged_entry& x) { return std::ranges::binary_search(gone, x.page); });
  }
  return victims;
}

std::vector<victim> page_ledger::take_lowest(sequence_id sequence, std::uint32_t layer,
                                             std::size_t count,
                                             const policies::scheduling_policy& policy) {
  auto s = sequences_.find(sequence);
  if (s == sequences_.end() || s->second.pinned)
    return {};
  std::vector<candidate> list;
  collect(sequence, layer, s->second.layers[layer], policy, list);
  return take(std::move(list), count);
}

std::vector<victim> page_ledger::take_lowest(device_id device, std::size_t count,
                                             const policies::scheduling_policy& policy) {
  std::vector<candidate> list;
  for (const auto& [id, s] : sequences_) {
    if (s.pinned)
      continue;
    for (const auto& [layer, l] : s.layers)
      collect(id, layer, l, policy, list);
  }
  std::erase_if(list, [device](const candidate& c) { return c.page.device != device; });
  return take(std::move(list), count);
}

} // namespace pikv
