// SPDX-License-Identifier: Apache-2.0
// What a choice has come to: the account of its request, and what was read of pages and shards.
#include <map>

#include <pikv/actors/shard_owner/choosing.hpp>

namespace pikv {

namespace {

std::vector<page_use> uses_of(std::span<const std::uint32_t> reads, const page_table& table) {
  // Where no page is missing the index says which one it is, and cold memory is not touched.
  const auto& memory = table.memory;
  const bool whole =
      !memory.empty() && memory.back().page - memory.front().page + 1 == memory.size();
  std::vector<page_use> uses;
  for (std::uint32_t i = 0; i < reads.size(); ++i)
    if (reads[i] > 0)
      uses.push_back({whole ? memory.front().page + i : memory[i].page, reads[i], 0.0F});
  return uses;
}

/// Adds what was read of each shard. Pages that are gone cannot be told apart by route here; no
/// policy that asks for those can be said as a rule.
void add_shards(std::span<const std::uint32_t> reads, std::uint32_t kv_heads,
                const page_table& table, std::vector<shard_use>& uses) {
  std::map<std::uint32_t, double> read;
  for (std::size_t i = 0; i < reads.size(); ++i)
    if (reads[i] > 0)
      read[table.views[i].shard.value] += static_cast<double>(reads[i]) * table.views[i].tokens * kv_heads;
  for (const auto& [shard, entries] : read)
    uses.push_back({shard, entries, 0});
}

} // namespace

void choosing::account(const std::vector<table_lease>& settled, attend_done& reply) {
  if (on_device())
    return account_device(settled, reply);
  reply.not_routed = plan_.not_routed;
  reply.not_selected = plan_.not_selected;
  reply.evicted = plan_.evicted;
  reply.routed_shards = plan_.routed_shards;
  reply.uses = std::move(plan_.uses);
  reply.shards = std::move(plan_.shards);
}

void choosing::account_device(const std::vector<table_lease>& settled, attend_done& reply) const {
  const auto kv_heads = in_.context->dims.kv_heads;
  const auto per_scope = kv_heads / scopes_;
  const auto* totals = reinterpret_cast<const choice_total*>(totals_.data());
  const bool leads = !gather_ || gather_.leads;
  auto facts = rows_.begin();
  for (const auto& part : in_.parts)
    for (std::uint32_t i = 0; i < part.tokens; ++i, ++facts) {
      const auto* of_row = totals + std::size_t{part.row_begin + i} * scopes_;
      reply.read += facts->always * kv_heads;
      reply.evicted += facts->evicted * kv_heads;
      reply.not_routed += facts->old * kv_heads;
      if (!leads)
        continue; // another owner counts the rest, for all of them
      reply.not_routed -= std::uint64_t{of_row->routed_tokens} * kv_heads;
      reply.routed_shards += of_row->routed_shards;
      for (std::uint32_t s = 0; s < scopes_; ++s) {
        reply.read += std::uint64_t{of_row[s].tokens} * per_scope;
        reply.not_selected += std::uint64_t{of_row[s].routed_tokens - of_row[s].tokens} * per_scope;
      }
    }
  for (std::size_t i = 0; i < in_.parts.size(); ++i) {
    const auto& table = *settled[i].get();
    const auto reads = count_reads(in_.parts[i], table);
    if (in_.policies->wants_reads)
      reply.uses.push_back(uses_of(reads, table));
    if (in_.policies->counts_shards)
      add_shards(reads, per_scope, table, reply.shards);
  }
}

/// How many rows (times scopes) chose each page.
std::vector<std::uint32_t> choosing::count_reads(const work_part& part,
                                                 const page_table& table) const {
  std::vector<std::uint32_t> reads(lists_ ? table.views.size() : 0);
  const auto* totals = reinterpret_cast<const choice_total*>(totals_.data());
  const auto first = std::size_t{part.row_begin} * scopes_;
  for (auto list = first; lists_ && list < first + std::size_t{part.tokens} * scopes_; ++list) {
    const auto* pages = reinterpret_cast<const std::uint32_t*>(lists_.data()) + list * capacity_;
    for (std::uint32_t i = 0; i < totals[list].pages; ++i)
      ++reads[pages[i]];
  }
  return reads;
}

} // namespace pikv
