// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a shard owner tells the metrics about its device. Rules of use: router_probe.hpp.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include <pikv/messages/types.hpp>
#include <pikv/monitoring/labels.hpp>

namespace pikv::monitoring {

/// What a device's arenas hold at this moment, in bytes.
struct owner_bytes {
  std::uint64_t pages = 0; ///< in whatever form, scales included
  std::uint64_t summaries = 0;
  std::uint64_t reserved = 0; ///< handed out by the memory arena
  std::uint64_t capacity = 0; ///< size of the memory arena
  std::uint64_t scratch_reserved = 0;
};

class owner_probe {
public:
  class impl;
  explicit owner_probe(std::shared_ptr<impl> x) noexcept : impl_(std::move(x)) {}

  void appended(std::uint64_t entries) noexcept;
  void settled(std::uint64_t pages, form f) noexcept;
  /// One batch of pages encoded into form `f` within `seconds`; relative L2 errors over the batch.
  void encoded(form f, std::uint64_t pages, double k_error, double v_error, double seconds);
  void kept_raw(std::uint64_t pages, kept_raw_reason reason) noexcept;
  /// Dropped although the sequence is open.
  void evicted(std::uint64_t pages, std::uint64_t entries, evict_reason reason) noexcept;
  /// Freed with the last sequence that held them.
  void freed(std::uint64_t pages) noexcept;

  /// What is held now.
  void pages(std::uint64_t window, std::uint64_t settled) noexcept;
  void bytes(const owner_bytes& x) noexcept;
  /// Settled pages by shard index; sets the imbalance too. Shards beyond the count that the probe
  /// was made with only enter the imbalance.
  void shard_pages(std::span<const std::uint64_t> pages) noexcept;
  /// Adds time that a stream spent executing.
  void stream_busy(stream_role role, double seconds) noexcept;

  void flush();

private:
  std::shared_ptr<impl> impl_;
};

} // namespace pikv::monitoring
