// SPDX-License-Identifier: Apache-2.0
/// \file
/// Placement: which shard a settled page belongs to. (Which device owns a shard is `owner_of`.)
#pragma once

#include <span>

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
};

/// Pure and deterministic: the same facts give the same shard. Called from one thread.
class placement_policy {
public:
  virtual ~placement_policy() = default;
  /// True when `place` wants `top_experts`; pages then wait in the window until annotated.
  virtual bool needs_gate() const noexcept = 0;
  /// A shard below the context's `shards`.
  virtual shard_id place(const page_facts& page) const noexcept = 0;
};

/// The device that owns a shard: shards are dealt to devices in turn.
constexpr device_id owner_of(shard_id shard, std::uint32_t devices) noexcept {
  return {shard.value % devices};
}

std::span<const table_entry<placement_policy>> placement_table();

} // namespace pikv::policies
