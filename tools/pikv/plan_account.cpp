// SPDX-License-Identifier: Apache-2.0
// What one device holds, byte by byte: pages, summaries, page tables, and what slabs add.
#include "plan_model.hpp"

#include <algorithm>
#include <bit>
#include <map>
#include <utility>

#include <pikv/actors/shard_owner/records.hpp>

namespace pikv::tools {

namespace {

constexpr std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) noexcept {
  return (a + b - 1) / b;
}

/// The slab arena's rule for one size.
struct cell {
  std::uint64_t bytes = 0;
  std::uint64_t slab_bytes = 0; ///< 0: each allocation has an extent of its own
};

cell cell_of(std::uint64_t bytes) noexcept {
  constexpr std::uint64_t grain = 64, base_slab = 256 << 10, least_cells = 8, system_page = 4096;
  if (bytes > base_slab / 2)
    return {ceil_div(bytes, system_page) * system_page, 0};
  const std::uint64_t last = ceil_div(bytes, grain) - 1;
  const auto width = std::bit_width(last);
  const auto shift = width > 4 ? width - 4 : 0;
  const std::uint64_t rounded = (((last >> shift) + 1) << shift) * grain;
  return {rounded, std::max(base_slab, std::bit_ceil(least_cells * rounded))};
}

std::uint64_t reserved(const cell& x, std::uint64_t count) noexcept {
  if (x.slab_bytes == 0)
    return x.bytes * count;
  return ceil_div(count, x.slab_bytes / x.bytes) * x.slab_bytes;
}

/// Sizes that share a class share its slabs.
class slab_account {
public:
  void add(std::uint64_t bytes, std::uint64_t count) {
    if (bytes == 0 || count == 0)
      return;
    const auto size = cell_of(bytes);
    asked_ += bytes * count;
    auto& entry = counts_[size.bytes];
    entry.first = size;
    entry.second += count;
  }
  std::uint64_t rounding() const noexcept { return used() - asked_; }
  std::uint64_t free_cells() const noexcept {
    std::uint64_t taken = 0;
    for (const auto& [bytes, entry] : counts_)
      taken += reserved(entry.first, entry.second);
    return taken - used();
  }

private:
  std::uint64_t used() const noexcept {
    std::uint64_t cells = 0;
    for (const auto& [bytes, entry] : counts_)
      cells += bytes * entry.second;
    return cells;
  }

  std::map<std::uint64_t, std::pair<cell, std::uint64_t>> counts_;
  std::uint64_t asked_ = 0;
};

/// What device `i` of `n` gets when `count` things are dealt in turn.
constexpr std::uint64_t share_of(std::uint64_t count, std::uint64_t n, std::uint64_t i) noexcept {
  return count / n + (i < count % n ? 1 : 0);
}

/// Settled pages of one layer of a sequence on a device: shard s has those whose index plus layer
/// is s modulo the shards, device d the shards that are d modulo the devices.
std::uint64_t striped_pages(const plan_request& x, std::uint64_t settled, std::uint32_t layer,
                            std::uint32_t device) noexcept {
  std::uint64_t pages = 0;
  for (std::uint64_t shard = device; shard < x.shards; shard += x.gpus)
    pages += share_of(settled, x.shards, (shard + x.shards - layer % x.shards) % x.shards);
  return pages;
}

/// Bytes of a table that grew page by page to `pages`: its arrays double.
std::uint64_t grown_table_bytes(std::uint64_t pages) noexcept {
  return pages == 0 ? 0 : std::bit_ceil(pages) * table_bytes_per_page;
}

/// What an owner keeps of a sequence before its first page.
std::uint64_t record_bytes(std::uint32_t layers) noexcept {
  return sizeof(owned_sequence) + layers * (sizeof(owned_layer) + 2 * sizeof(page_table));
}

/// Room for the pages of the window and of an append that passes through it.
std::uint64_t window_table_bytes(const plan_request& x) noexcept {
  const auto appended = std::min<std::uint64_t>(x.append_tokens, x.context);
  const std::uint64_t kept = x.context > appended ? x.window + x.page_tokens - 1 : 0;
  const auto pages = ceil_div(std::min(kept + appended, x.context), x.page_tokens);
  return grown_table_bytes(pages + (x.sinks > 0 ? 1 : 0));
}

} // namespace

std::uint64_t reserved_bytes(std::uint64_t bytes, std::uint64_t count) noexcept {
  return reserved(cell_of(bytes), count);
}

std::uint64_t passing_bytes(const plan_request& x, std::uint32_t device) noexcept {
  if (x.stored == x.raw && std::min(x.gpus, x.shards) == 1 && device == 0)
    return 0; // pages settle where they are
  const auto settled = count_pages(x).settled;
  const auto pages = std::min(settled, ceil_div(x.append_tokens, x.page_tokens) + 1);
  return pages * share_of(x.sequences, x.gpus, device) * x.model.layers
         * bytes_of_page(x.model, x.page_tokens, x.raw).total;
}

byte_account account_of(const plan_request& x, std::uint32_t device) noexcept {
  const auto pages = count_pages(x);
  const auto settled_page = bytes_of_page(x.model, x.page_tokens, x.stored);
  const auto raw_page = bytes_of_page(x.model, x.page_tokens, x.raw);
  const auto summary = summary_bytes(x.model, x.page_tokens, x.summary_parts);
  const std::uint64_t homes = share_of(x.sequences, x.gpus, device);
  byte_account a;
  slab_account slabs;
  std::uint64_t settled = 0;
  for (std::uint32_t layer = 0; layer < x.model.layers; ++layer) {
    const auto n = striped_pages(x, pages.settled, layer, device);
    settled += n * x.sequences;
    a.tables += grown_table_bytes(n) * x.sequences;
    if (!x.table_copies || n == 0)
      continue;
    const auto copy = gpu::table_copy_views(n) * sizeof(gpu::page_view);
    a.table_copies += copy * x.sequences;
    slabs.add(copy, x.sequences);
  }
  const std::uint64_t windows = homes * x.model.layers;
  const std::uint64_t raw = pages.raw * windows;
  a.settled_values = settled * settled_page.values;
  a.settled_scales = settled * settled_page.scales;
  a.raw_values = pages.raw_tokens * windows * (raw_page.values / x.page_tokens);
  a.empty_slots = raw * raw_page.values - a.raw_values;
  a.alignment = settled * settled_page.alignment + raw * raw_page.alignment;
  a.summaries = settled * summary;
  a.tables += windows * window_table_bytes(x)
              + (settled > 0 ? x.sequences : homes) * record_bytes(x.model.layers);
  slabs.add(settled_page.total, settled);
  slabs.add(raw_page.total, raw);
  slabs.add(summary, settled);
  a.rounding = slabs.rounding();
  a.free_cells = slabs.free_cells();
  return a;
}

} // namespace pikv::tools
