// SPDX-License-Identifier: Apache-2.0
/// \file
/// Memory from a source in whole extents, under a budget. An extent that is given back stays
/// mapped for the next request of its size, and goes back to the source when another size needs
/// the budget or the room. Not thread-safe: the arena's lock guards it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>

#include <pikv/gpu/memory/memory_source.hpp>

namespace pikv::gpu::detail {

/// One mapping. A slab splits it into cells of one size and keeps a two-level bitmap of free ones.
struct extent {
  static constexpr std::uint32_t no_class = ~std::uint32_t{0};

  std::byte* base = nullptr;
  std::size_t bytes = 0;
  std::uint32_t size_class = no_class; ///< no_class: the whole extent is one allocation
  std::uint32_t cells = 0;             ///< at most 64 * 64
  std::uint32_t taken = 0;             ///< cells handed out
  std::uint64_t free_words = 0;        ///< bit i: free[i] has a set bit
  std::array<std::uint64_t, 64> free;  ///< bit set: cell is free; valid up to `cells`

  void split(std::uint32_t cls, std::uint32_t count) noexcept;
  std::uint32_t take_cell() noexcept; ///< the lowest free cell; precondition: taken < cells
  void free_cell(std::uint32_t cell) noexcept;
};

using extent_list = std::list<extent>;

class extent_store {
public:
  extent_store(std::size_t capacity_bytes, std::unique_ptr<memory_source> source);
  extent_store(const extent_store&) = delete;
  extent_store& operator=(const extent_store&) = delete;
  ~extent_store(); ///< precondition: everything was given back

  enum class outcome : std::uint8_t { ok, over_budget, source_refused };

  /// Puts an extent of `round(bytes)` at the front of `to`. Throws std::bad_alloc.
  outcome take(std::size_t bytes, extent_list& to);
  void give_back(extent_list& from, extent_list::iterator x) noexcept;

  std::size_t round(std::size_t bytes) const noexcept { return (bytes + page_ - 1) & ~(page_ - 1); }
  memory_source& source() noexcept { return *source_; }
  std::size_t capacity() const noexcept { return capacity_; }
  std::size_t mapped() const noexcept { return mapped_; }     ///< bytes, idle extents included
  std::size_t reserved() const noexcept { return reserved_; } ///< bytes, idle extents excluded
  std::size_t high_water() const noexcept { return high_water_; }

private:
  struct bin {
    extent_list idle;
    std::size_t extents = 0; ///< mapped extents of this size, idle or not
  };

  outcome map_new(std::size_t bytes, extent_list& to);
  void unmap_idle_one(std::size_t wanted_bytes) noexcept;
  void count_reserved(std::size_t bytes) noexcept;

  std::size_t capacity_;
  std::unique_ptr<memory_source> source_;
  std::size_t page_; ///< the source's grain
  std::size_t mapped_ = 0;
  std::size_t reserved_ = 0;
  std::size_t high_water_ = 0;
  std::map<std::size_t, bin> bins_; // by size; a bin stays while an extent of its size is mapped
};

} // namespace pikv::gpu::detail
