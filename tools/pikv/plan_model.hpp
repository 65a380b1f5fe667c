// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a KV cache costs, in bytes per device: the arithmetic behind `pikv plan`. It asks the same
/// layout functions that the runtime stores pages with, so that scales, alignment, empty slots,
/// summaries, page tables and the allocator's rounding are all in the account. Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include <pikv/actors/page_table.hpp>
#include <pikv/gpu/kernels.hpp>
#include <pikv/gpu/page_layout.hpp>
#include <pikv/messages/error.hpp>
#include <pikv/messages/types.hpp>

namespace pikv::tools {

/// What one token leaves behind in one layer. A model with multi-head latent attention (MLA) is one
/// KV head with K of `k_dim` (latent and rotary part) and no V: values are rebuilt from the latent.
struct kv_model {
  std::string_view name;
  std::string_view note; ///< one line: where the shape comes from
  std::uint32_t layers = 0;
  std::uint32_t query_heads = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t k_dim = 0; ///< multiple of 32
  std::uint32_t v_dim = 0; ///< equal to k_dim, or 0 for a latent
  std::uint32_t experts = 0;
  std::uint64_t context = 0; ///< tokens, the default of --context

  constexpr bool latent() const noexcept { return v_dim == 0; }
  /// Values of one token in one layer, K and V of all KV heads.
  constexpr std::uint64_t values_per_layer() const noexcept {
    return std::uint64_t{kv_heads} * (k_dim + v_dim);
  }
  /// Bytes of one token in all layers at `bits` per value, without any overhead.
  constexpr double bytes_per_token(double bits) const noexcept {
    return static_cast<double>(values_per_layer() * layers) * bits / 8;
  }
};

std::span<const kv_model> known_models() noexcept;
const kv_model* find_model(std::string_view name) noexcept; ///< null: there is none of that name

struct plan_request {
  kv_model model;
  std::uint64_t context = 0;   ///< tokens of each sequence
  std::uint64_t sequences = 1; ///< open at once
  std::uint32_t gpus = 1;
  form stored = form::f16; ///< of settled pages
  form raw = form::f16;    ///< of sinks and window; equals `stored` where that is raw
  std::uint32_t page_tokens = 16;
  std::uint32_t window = 128; ///< most recent tokens, raw
  std::uint32_t sinks = 4;    ///< first tokens, raw
  std::uint32_t shards = 16;
  std::uint8_t summary_parts = gpu::summary_none; ///< of settled pages
  std::uint32_t append_tokens = 2048; ///< longest append to a sequence: it passes through its window
  bool entries = false; ///< cache.granularity entry: shards keep open pages beside the window
  bool table_copies = false; ///< kernels keep copies of page tables beside the pages: backend cuda
};

/// Refuses shapes and settings that no cache has; the message says what is allowed.
result<void> check(const plan_request& x);

/// Bookkeeping of one page besides its bytes: the view that kernels read and the handles of its
/// memory (actors/page_table.hpp).
inline constexpr std::uint64_t table_bytes_per_page = sizeof(gpu::page_view) + sizeof(page_memory);

/// Pages of one layer of one sequence.
struct page_counts {
  std::uint64_t settled = 0;    ///< full pages that left the window
  std::uint64_t raw = 0;        ///< pages of sinks and window, open pages of shards
  std::uint64_t raw_tokens = 0; ///< filled slots in them
};

page_counts count_pages(const plan_request& x) noexcept;

/// One page of one form, in bytes. The parts add up to `total`.
struct page_bytes {
  std::uint64_t values = 0;    ///< K and V of all slots
  std::uint64_t scales = 0;    ///< f16 (scale, min) pairs
  std::uint64_t alignment = 0; ///< so that each part begins at a multiple of 64
  std::uint64_t total = 0;
};

page_bytes bytes_of_page(const kv_model& model, std::uint32_t page_tokens, form stored) noexcept;

/// Of one page.
std::uint64_t summary_bytes(const kv_model& model, std::uint32_t page_tokens,
                            std::uint8_t summary_parts) noexcept;

/// Where the bytes of one device go. The parts add up to `total()`.
struct byte_account {
  std::uint64_t settled_values = 0;
  std::uint64_t settled_scales = 0;
  std::uint64_t raw_values = 0;  ///< sinks and window
  std::uint64_t empty_slots = 0; ///< of partly filled pages
  std::uint64_t alignment = 0;
  std::uint64_t summaries = 0;
  std::uint64_t tables = 0; ///< with their spare room, and the records of sequences; host memory
  std::uint64_t table_copies = 0;
  std::uint64_t rounding = 0;   ///< to size classes
  std::uint64_t free_cells = 0; ///< of the last slab of each size class

  constexpr std::uint64_t total() const noexcept {
    return settled_values + settled_scales + raw_values + empty_slots + alignment + summaries
           + tables + table_copies + rounding + free_cells;
  }
  /// Pages in whatever form, scales included.
  constexpr std::uint64_t pages() const noexcept {
    return settled_values + settled_scales + raw_values + empty_slots + alignment;
  }
  /// What it takes of devices.memory.
  constexpr std::uint64_t memory() const noexcept { return total() - tables; }
};

/// Bytes that `count` allocations of `bytes` each take from a host arena's budget: cells of the
/// size's class in whole slabs (gpu/memory/slab_arena.hpp).
std::uint64_t reserved_bytes(std::uint64_t bytes, std::uint64_t count) noexcept;

struct plan {
  page_counts pages;             ///< per layer and sequence
  std::uint32_t holders = 0;     ///< devices that own shards: no more than there are shards
  byte_account device;           ///< the fullest device
  std::uint64_t passing = 0;     ///< passing_bytes of the first device, which has most homes
  std::uint64_t cache_bytes = 0; ///< all devices together
  double bytes_per_token = 0;    ///< cache_bytes over all tokens
  double dense_bytes_per_token = 0; ///< K and V in 16 bit, no overhead
};

/// What one device holds of striped pages (policies/placement/stripe.cpp) and of the windows of the
/// sequences whose home it is; homes are given in turn. Precondition: check(x), device < x.gpus.
byte_account account_of(const plan_request& x, std::uint32_t device) noexcept;

/// Bytes that appends need on a home device besides what stays there: each layer's new pages lie in
/// windows until they have moved or are packed. At most one append a layer and sequence is under
/// way; the slots stay reserved for later pages where others of their slab are taken.
std::uint64_t passing_bytes(const plan_request& x, std::uint32_t device) noexcept;

/// Precondition: check(x).
plan make_plan(const plan_request& x) noexcept;

} // namespace pikv::tools
