// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/shard_owner/accounts.hpp>

namespace pikv {

namespace {

bool is_kept(const gpu::page_view& v) noexcept { return v.data != nullptr; }

/// Of the pages from `from` on that are kept.
std::uint64_t visible_in(std::span<const gpu::page_view> views, std::size_t from,
                         std::uint32_t position, std::uint32_t rows) {
  std::uint64_t n = 0;
  for (auto i = from; i < views.size(); ++i)
    if (is_kept(views[i]))
      n += visible_tokens(views[i].first_position, views[i].tokens, position, rows);
  return n;
}

/// What `rows` rows from `position` on see of all settled pages: kept ones or evicted ones.
std::uint64_t visible_settled(const gpu::page_list& pages, std::uint64_t tokens, bool kept,
                              std::uint32_t position, std::uint32_t rows) {
  std::uint64_t in_part = 0; // of pages at the end that the first row does not see whole
  for (auto i = pages.size(); i > 0; --i) {
    const auto& v = pages[i - 1];
    if (v.first_position + v.tokens <= position + 1)
      break;
    if (is_kept(v) != kept)
      continue;
    tokens -= v.tokens;
    in_part += visible_tokens(v.first_position, v.tokens, position, rows);
  }
  return tokens * rows + in_part;
}

} // namespace

std::uint64_t count_read(const gpu::sequence_rows& r, const page_tokens& settled,
                         const gpu::page_selection* s, std::uint32_t kv_heads) {
  std::uint64_t all = visible_in(r.window, 0, r.first_position, r.row_count);
  if (s == nullptr)
    return (all + visible_settled(r.settled, settled.kept, true, r.first_position, r.row_count))
           * kv_heads;
  std::uint64_t chosen = 0;
  for (std::uint32_t i = 0; i < r.row_count; ++i) {
    const auto row = r.row_begin + i;
    all += visible_in(r.settled.views, s->always_from[row], r.first_position + i, 1);
    const auto list = std::size_t{row} * s->scopes;
    for (auto k = s->offsets[list]; k < s->offsets[list + s->scopes]; ++k)
      if (const auto& page = r.settled[s->pages[k]]; is_kept(page))
        chosen += page.tokens;
  }
  return all * kv_heads + chosen * (kv_heads / s->scopes);
}

std::uint64_t count_evicted(const gpu::sequence_rows& r, const page_tokens& settled,
                            std::uint32_t kv_heads) {
  return visible_settled(r.settled, settled.evicted, false, r.first_position, r.row_count)
         * kv_heads;
}

row_tokens count_row(const gpu::sequence_rows& r, const page_tokens& settled, std::uint32_t row,
                     const page_geometry& geometry) {
  const auto position = r.first_position + row;
  row_tokens n{visible_in(r.window, 0, position, 1), settled.kept,
               visible_settled(r.settled, settled.evicted, false, position, 1)};
  for (auto i = r.settled.size(); i > 0; --i) {
    const auto& v = r.settled[i - 1];
    if (geometry.is_old(v.first_position, v.tokens, position))
      break;
    if (!is_kept(v))
      continue;
    n.old -= v.tokens;
    n.always += visible_tokens(v.first_position, v.tokens, position, 1);
  }
  return n;
}

} // namespace pikv
