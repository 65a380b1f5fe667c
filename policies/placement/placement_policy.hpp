// SPDX-License-Identifier: Apache-2.0
/// \file
/// Placement: which shard a settled page belongs to. (Which device owns a shard is `owner_of`.)
#pragma once

#include <span>
#include <vector>

#include <pikv/messages/types.hpp>
#include <pikv/policies/table.hpp>

namespace pikv::policies {

/// What is known of a page when it settles.
struct page_facts {
  sequence_id sequence{};
  std::uint32_t layer = 0;
  std::uint32_t page = 0;           ///< index within (sequence, layer)
  std::uint32_t first_position = 0; ///< of its first token
  std::uint32_t tokens = 0;
  /// Top-1 expert of each token by the gate that labels this layer; empty when not annotated.
  std::span<const std::uint16_t> top_experts;
  /// Mean over the page's tokens of its keys as stored `[kv_heads * head_dim]`; empty where the
  /// policy does not want them or they could not be had.
  std::span<const float> mean_key{};
};

/// What a placement has learnt of the pages of one (sequence, layer). Its owner keeps it beside
/// them, copies it when the sequence is forked and hands it back with the next page; a new one is
/// empty.
struct placement_memory {
  std::uint32_t width = 0;          ///< of a centroid
  std::vector<float> centroids;     ///< `[clusters, width]`
  std::vector<std::uint32_t> pages; ///< `[clusters]`: pages that joined
};

/// Pure and deterministic: the same facts (and memory) give the same shard. Called from one thread.
class placement_policy {
public:
  virtual ~placement_policy() = default;
  /// True when `place` wants `top_experts`; pages then wait in the window until annotated.
  virtual bool needs_gate() const noexcept = 0;
  /// True when `place_and_learn` wants `mean_key`; the page settles when its owner has told it.
  virtual bool needs_keys() const noexcept { return false; }
  /// Not 0: shards change their device while the cache runs where what is read of the busiest
  /// device exceeds the mean of all by more than this factor (balance.hpp).
  virtual double tolerated_imbalance() const noexcept { return 0; }
  /// A shard below the context's `shards`.
  virtual shard_id place(const page_facts& page) const noexcept = 0;
  /// The same for policies that learn from the pages that they have placed.
  virtual shard_id place_and_learn(const page_facts& page, placement_memory&) const {
    return place(page);
  }
};

/// The device that owns a shard at first: shards are dealt to devices in turn.
constexpr device_id owner_of(shard_id shard, std::uint32_t devices) noexcept {
  return {shard.value % devices};
}

std::span<const table_entry<placement_policy>> placement_table();

} // namespace pikv::policies
