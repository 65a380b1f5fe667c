// SPDX-License-Identifier: Apache-2.0
/// \file
/// Routing and page selection on a CUDA device, without the host: from scores to the lists of pages
/// that attention reads. Meaning: policies/routing and policies/selection. Old pages are settled
/// pages outside the row's window; younger ones are always read.
#pragma once

#include <cstddef>
#include <cstdint>

#include <pikv/gpu/cuda/attend.hpp>
#include <pikv/gpu/cuda/score.hpp>
#include <pikv/messages/choice.hpp>
#include <pikv/messages/error.hpp>

struct CUstream_st;

namespace pikv::gpu::cuda {

/// A route_rule (messages/choice.hpp) with what it needs.
struct select_route {
  route_kind kind = route_kind::all;
  std::uint32_t k = 0;      ///< experts (gate_top_k) or shards (mass) to read
  std::uint32_t shards = 0; ///< at most 1,024; pages of other shards are never routed
  std::uint32_t experts = 0;
  const float* gate_logits = nullptr;       ///< device `[rows, experts]`
  const std::uint8_t* gate_known = nullptr; ///< device `[rows]`; null: known for all rows
  const float* mass_scores = nullptr;       ///< device, from `score` of kind mass
};

/// This device's own among gathered pages.
struct own_pages {
  std::uint32_t begin = 0;
  std::uint32_t count = 0;
};

struct select_launch {
  cache_dims dims;
  const attend_sequence* sequences = nullptr; ///< device `[bounds.sequences]`
  /// Device `[bounds.sequences]`, or null: all pages are this device's. With it the settled pages of
  /// a sequence are those that several devices have gathered, in any order, and lists name own ones,
  /// counted from the first; pages that are not old have no score (-inf).
  const own_pages* own = nullptr;
  settled_bounds bounds;
  std::uint32_t rows = 0;   ///< of the batch
  std::uint32_t window = 0; ///< tokens that a row reads in any case
  std::uint32_t scopes = 1; ///< 1: all heads read the same pages; kv_heads: each its own
  select_route route;
  const float* scores = nullptr; ///< device, from `score`; null: every old page of the route
  select_budget budget;          ///< with `scores`

  std::uint32_t capacity = 0; ///< pages that a list has room for; more are not selected
  std::uint32_t* lists = nullptr;       ///< out: device `[rows, scopes, capacity]`, ascending
  std::uint32_t* counts = nullptr;      ///< out: device `[rows, scopes]`
  std::uint32_t* always_from = nullptr; ///< out: device `[rows]`, as page_selection
  /// Out or null: `[rows, scopes]` in memory that the device reaches; each is written once.
  choice_total* totals = nullptr;
  std::byte* workspace = nullptr; ///< device, `select_workspace_bytes`
};

/// The same lists one after the other, as attend_selection takes them.
struct compact_launch {
  std::uint32_t lists_count = 0; ///< rows * scopes
  std::uint32_t capacity = 0;
  const std::uint32_t* lists = nullptr;  ///< device `[lists_count, capacity]`
  const std::uint32_t* counts = nullptr; ///< device `[lists_count]`
  std::uint32_t* offsets = nullptr;      ///< out: device `[lists_count + 1]`
  std::uint32_t* pages = nullptr;        ///< out: device, room for lists_count * capacity
  /// Out or null: `[lists_count, capacity]`, the lists once more where the host reads them.
  std::uint32_t* host_lists = nullptr;
};

std::size_t select_workspace_bytes(const select_launch& x) noexcept;

/// Both only enqueue; one or two kernels, and one. Equal scores rank by position, lower first.
/// Nothing is written for rows that belong to no sequence: for `compact` after a batch with such
/// rows their counts must be 0 beforehand.
result<void> select(const select_launch& x, CUstream_st* stream);
result<void> compact(const compact_launch& x, CUstream_st* stream);

} // namespace pikv::gpu::cuda
