// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/shard_owner/accounts.hpp>

namespace pikv {

namespace {

/// Of the pages from `from` on that are kept.
std::uint64_t visible_in(std::span<const gpu::page_view> views, std::size_t from,
                         std::uint32_t position, std::uint32_t rows) {
  std::uint64_t n = 0;
  for (auto i = from; i < views.size(); ++i)
    if (views[i].data != nullptr)
      n += visible_tokens(views[i].first_position, views[i].tokens, position, rows);
  return n;
}

} // namespace

std::uint64_t count_read(const gpu::sequence_rows& r, const gpu::page_selection* s,
                         std::uint32_t kv_heads) {
  std::uint64_t all = visible_in(r.window, 0, r.first_position, r.row_count);
  if (s == nullptr)
    return (all + visible_in(r.settled.views, 0, r.first_position, r.row_count)) * kv_heads;
  std::uint64_t chosen = 0;
  for (std::uint32_t i = 0; i < r.row_count; ++i) {
    const auto row = r.row_begin + i;
    all += visible_in(r.settled.views, s->always_from[row], r.first_position + i, 1);
    const auto list = std::size_t{row} * s->scopes;
    for (auto k = s->offsets[list]; k < s->offsets[list + s->scopes]; ++k)
      if (const auto& page = r.settled[s->pages[k]]; page.data != nullptr)
        chosen += page.tokens;
  }
  return all * kv_heads + chosen * (kv_heads / s->scopes);
}

std::uint64_t count_evicted(const gpu::sequence_rows& r, std::uint32_t kv_heads) {
  std::uint64_t n = 0;
  for (const auto& v : r.settled)
    if (v.data == nullptr)
      n += visible_tokens(v.first_position, v.tokens, r.first_position, r.row_count);
  return n * kv_heads;
}

row_tokens count_row(const gpu::sequence_rows& r, std::uint32_t row,
                     const page_geometry& geometry) {
  const auto position = r.first_position + row;
  row_tokens n{visible_in(r.window, 0, position, 1), 0, 0};
  for (const auto& v : r.settled) {
    const auto tokens = visible_tokens(v.first_position, v.tokens, position, 1);
    const bool old = geometry.is_old(v.first_position, v.tokens, position);
    (v.data == nullptr ? n.evicted : old ? n.old : n.always) += tokens;
  }
  return n;
}

} // namespace pikv
