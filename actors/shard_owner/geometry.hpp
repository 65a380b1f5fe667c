// SPDX-License-Identifier: Apache-2.0
/// \file
/// Which page and slot a position has. The first `sinks` positions share a page of their own that
/// never settles; page k then holds positions sinks + k * page_tokens and on.
///
/// With entry granularity that is so in the window. The k-th page that is sealed holds entries of
/// one shard from anywhere before, and its place is nominal: that of page k. This is sound for
/// every test of sight and age, because sealed pages 0 ... k hold (k + 1) * page_tokens different
/// entries that had all left the window together with whole pages, of which there were then at
/// least k + 1: what may see positions up to page k's end, as it says, may see them all.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace pikv {

inline constexpr std::uint32_t sink_page = std::numeric_limits<std::uint32_t>::max();

struct page_geometry {
  std::uint32_t sinks = 0; ///< at most page_tokens
  std::uint32_t page_tokens = 16;
  std::uint32_t window = 128;

  struct place {
    std::uint32_t page = 0; ///< sink_page or an index
    std::uint32_t slot = 0;
    std::uint32_t room = 0; ///< slots from here to the page's end
  };

  constexpr place of(std::uint32_t position) const noexcept {
    if (position < sinks)
      return {sink_page, position, sinks - position};
    auto p = position - sinks;
    auto slot = p % page_tokens;
    return {p / page_tokens, slot, page_tokens - slot};
  }

  constexpr std::uint32_t first_position(std::uint32_t page) const noexcept {
    return page == sink_page ? 0 : sinks + page * page_tokens;
  }

  /// Pages that have left the window once `appended` tokens are there: those whose last token is
  /// at least `window` older than the newest.
  constexpr std::uint32_t settled_pages(std::uint32_t appended) const noexcept {
    auto keep = std::uint64_t{window} + sinks;
    return appended <= keep ? 0 : static_cast<std::uint32_t>((appended - keep) / page_tokens);
  }

  /// True when a settled page is outside the window of a query at `position` (then selectable).
  constexpr bool is_old(std::uint32_t first, std::uint32_t tokens,
                        std::uint32_t position) const noexcept {
    return std::uint64_t{first} + tokens + window <= std::uint64_t{position} + 1;
  }
};

/// Sum over the rows `position ... + rows` of the tokens of a page that each may see causally.
constexpr std::uint64_t visible_tokens(std::uint32_t first, std::uint32_t tokens,
                                       std::uint32_t position, std::uint32_t rows) noexcept {
  std::uint64_t total = 0;
  if (first + tokens <= position + 1)
    return std::uint64_t{tokens} * rows;
  for (std::uint32_t i = 0; i < rows; ++i) {
    auto t = position + i;
    total += t < first ? 0 : std::min(t - first + 1, tokens);
  }
  return total;
}

} // namespace pikv
