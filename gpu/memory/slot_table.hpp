// SPDX-License-Identifier: Apache-2.0
/// \file
/// The records of one arena's allocations, by slot number.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>

#include <pikv/gpu/memory/extent_store.hpp>

namespace pikv::gpu::detail {

/// One allocation. `state` holds the generation in its upper and the reference count in its lower
/// 32 bits, so that one compare-and-swap both checks and shares. The other members change only
/// while the count is 0 and under the arena's lock.
struct slot_record {
  std::atomic<std::uint64_t> state{std::uint64_t{1} << 32}; // generation 1: a default ref is stale
  std::byte* data = nullptr;
  std::size_t bytes = 0;      ///< as asked for
  extent_list::iterator home; ///< the extent that `data` lies in
  std::uint32_t cell = 0;     ///< which cell of a slab
  std::uint32_t next_free = 0;
};

/// Records in blocks of doubling size that never move, so that reading one needs no lock.
class slot_table {
public:
  static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();

  slot_table() = default;
  slot_table(const slot_table&) = delete;
  slot_table& operator=(const slot_table&) = delete;
  ~slot_table() {
    for (auto& x : blocks_)
      delete[] x.load(std::memory_order_relaxed);
  }

  /// Precondition: slot < size().
  slot_record& operator[](std::uint32_t slot) const noexcept {
    const std::uint64_t n = std::uint64_t{slot} + first_block;
    const auto block = static_cast<std::size_t>(std::bit_width(n) - std::bit_width(first_block));
    return blocks_[block].load(std::memory_order_acquire)[n - (first_block << block)];
  }

  std::uint32_t size() const noexcept { return size_.load(std::memory_order_acquire); }

  /// A free record's number. Callers hold the arena's lock. Throws std::bad_alloc.
  std::uint32_t take() {
    if (free_ == none)
      grow();
    const std::uint32_t slot = free_;
    free_ = (*this)[slot].next_free;
    return slot;
  }

  /// Callers hold the arena's lock.
  void give_back(std::uint32_t slot) noexcept {
    (*this)[slot].next_free = free_;
    free_ = slot;
  }

private:
  static constexpr std::uint64_t first_block = 1024; ///< records in the first block

  void grow() {
    const std::uint32_t slot = size_.load(std::memory_order_relaxed);
    const std::uint64_t n = std::uint64_t{slot} + first_block;
    if (slot == none)
      throw std::bad_alloc{};
    if (std::has_single_bit(n)) {
      const auto block = static_cast<std::size_t>(std::bit_width(n) - std::bit_width(first_block));
      blocks_[block].store(new slot_record[n], std::memory_order_release);
    }
    size_.store(slot + 1, std::memory_order_release);
    give_back(slot);
  }

  std::array<std::atomic<slot_record*>, 23> blocks_{};
  std::atomic<std::uint32_t> size_{0};
  std::uint32_t free_ = none;
};

} // namespace pikv::gpu::detail
