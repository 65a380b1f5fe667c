// SPDX-License-Identifier: Apache-2.0
/// \file
/// What attends read of the pages on one device, counted in entries. Settled pages come with the
/// tokens of all of them (page_table::tokens), so that only those at the end, which a row may see in
/// part, have to be looked at.
#pragma once

#include <cstdint>

#include <pikv/actors/page_table.hpp>
#include <pikv/actors/shard_owner/geometry.hpp>
#include <pikv/gpu/kernels.hpp>

namespace pikv {

/// Entries that the rows of one part read, times the KV heads; `s` null: all that they may see.
std::uint64_t count_read(const gpu::sequence_rows& r, const page_tokens& settled,
                         const gpu::page_selection* s, std::uint32_t kv_heads);

/// Entries of evicted pages that the rows would have seen, times the KV heads.
std::uint64_t count_evicted(const gpu::sequence_rows& r, const page_tokens& settled,
                            std::uint32_t kv_heads);

/// The tokens that one row may see, by what becomes of them.
struct row_tokens {
  std::uint64_t always = 0;  ///< in the window and in settled pages that are not old
  std::uint64_t old = 0;     ///< in old pages that are kept: a choice among them decides
  std::uint64_t evicted = 0; ///< in pages that are gone
};

/// Of row `row` of the sequence's rows.
row_tokens count_row(const gpu::sequence_rows& r, const page_tokens& settled, std::uint32_t row,
                     const page_geometry& geometry);

} // namespace pikv
