// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the scheduler remembers of settled pages, and whom it would let go first. Plain data.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include <pikv/messages/protocol.hpp>
#include <pikv/policies/scheduling/page_uses.hpp>
#include <pikv/policies/scheduling/scheduling_policy.hpp>

namespace pikv {

/// Names one page and where it is.
struct victim {
  sequence_id sequence{};
  std::uint32_t layer = 0;
  std::uint32_t page = 0;
  device_id device{};
  form stored = form::f16;
};

/// Of the pages that one attend read.
struct use_count {
  std::uint64_t kept = 0;
  std::uint64_t missed = 0; ///< settled once, and gone
};

class page_ledger {
public:
  explicit page_ledger(std::uint32_t page_tokens = 16) : page_tokens_(page_tokens) {}

  void settled(const settled_event& e, std::uint32_t sinks);
  /// `reused(ticks)` is called for each page that was read, with the ticks since its last read.
  template <class Reused>
  use_count attended(const attended_event& e, Reused&& reused);

  void fork(sequence_id parent, sequence_id child);
  void close(sequence_id x);
  void pin(sequence_id x, bool pinned);
  void forget_device(device_id x);
  template <class Predicate>
  void close_if(Predicate&& p) {
    std::erase_if(sequences_, [&](const auto& x) { return p(x.first); });
    count_pages();
  }

  /// Tokens in settled pages of a (sequence, layer) that are still kept.
  std::uint64_t kept_tokens(sequence_id sequence, std::uint32_t layer) const;

  /// Up to `count` pages of lowest utility of one (sequence, layer), forgotten at once. Pages that
  /// no query has seen since they settled give way last.
  std::vector<victim> take_lowest(sequence_id sequence, std::uint32_t layer, std::size_t count,
                                  const policies::scheduling_policy& policy);
  /// The same over everything unpinned on a device.
  std::vector<victim> take_lowest(device_id device, std::size_t count,
                                  const policies::scheduling_policy& policy);

private:
  struct entry {
    policies::page_record record;
    std::uint64_t rows_at_settle = 0;
    device_id device{};
    form stored = form::f16;
  };
  /// In ascending order of the page.
  struct paged_entry : entry {
    std::uint32_t page = 0;
  };
  /// An entry has several lines.
  static void fetch_ahead(const paged_entry& x) noexcept {
    constexpr std::size_t line = 64;
    for (std::size_t at = 0; at < sizeof x; at += line)
      __builtin_prefetch(reinterpret_cast<const char*>(&x) + at, 1);
  }
  struct layer_ledger {
    std::vector<paged_entry> pages;

    /// Where a page is if none before it is missing.
    std::size_t likely_index(std::uint32_t page) const noexcept {
      return pages.empty() ? 0 : page - pages.front().page;
    }
    paged_entry* find(std::uint32_t page) {
      if (const auto i = likely_index(page); i < pages.size() && pages[i].page == page)
        return &pages[i];
      auto it = std::ranges::lower_bound(pages, page, {}, &paged_entry::page);
      return it != pages.end() && it->page == page ? &*it : nullptr;
    }
    std::uint64_t rows = 0; ///< query rows of all attends
    std::uint64_t last_prompt_at = 0;
    std::uint32_t last_position = 0;
    std::uint32_t settled_end = 0; ///< behind the last page that ever settled
  };
  struct sequence_ledger {
    bool pinned = false;
    std::map<std::uint32_t, layer_ledger> layers;
  };
  struct candidate {
    bool fresh = false;
    double utility = 0;
    std::uint32_t first_position = 0;
    victim page;
  };

  void collect(sequence_id id, std::uint32_t layer, const layer_ledger& l,
               const policies::scheduling_policy& policy, std::vector<candidate>& out) const;
  std::vector<victim> take(std::vector<candidate> list, std::size_t count);
  void count_pages() noexcept;

  std::uint32_t page_tokens_;
  std::uint64_t tick_ = 0;
  std::uint64_t pages_ = 0;    ///< of all sequences
  std::uint64_t settling_ = 0; ///< pages that settled since the last tick
  policies::page_uses uses_;
  std::unordered_map<sequence_id, sequence_ledger> sequences_;
};

template <class Reused>
use_count page_ledger::attended(const attended_event& e, Reused&& reused) {
  ++tick_;
  uses_.tick(std::exchange(settling_, 0), pages_);
  use_count count;
  auto it = sequences_.find(e.sequence);
  if (it == sequences_.end())
    return count;
  auto& layer = it->second.layers[e.layer];
  layer.rows += e.rows;
  if (e.rows > 1)
    layer.last_prompt_at = tick_;
  // The entries of thousands of pages are not in the cache: those of the next uses are fetched
  // ahead.
  constexpr std::size_t ahead = 8;
  for (std::size_t i = 0; i < e.pages.size(); ++i) {
    if (i + ahead < e.pages.size())
      if (const auto next = layer.likely_index(e.pages[i + ahead].page); next < layer.pages.size())
        fetch_ahead(layer.pages[next]);
    const auto& use = e.pages[i];
    auto* page = layer.find(use.page);
    if (page == nullptr) {
      count.missed += use.reads > 0 && use.page < layer.settled_end ? 1 : 0;
      continue;
    }
    auto& r = page->record;
    r.last_mass = static_cast<double>(use.mass) / std::max(e.rows, 1U);
    if (e.rows > 1)
      r.prompt_mass = r.last_mass;
    if (use.reads == 0)
      continue;
    ++count.kept;
    reused(tick_ - r.last_read_at);
    uses_.read(r, tick_, r.tag);
    r.mass += static_cast<double>(use.mass);
  }
  return count;
}

} // namespace pikv
