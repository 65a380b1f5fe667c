// SPDX-License-Identifier: Apache-2.0
/// \file
/// The arena of all backends: size classes in slabs, under a budget that is never exceeded. It
/// keeps its records apart from the memory, which it never reads or writes.
///
/// Sizes up to half a base slab are rounded up to one of eight classes per power of two, multiples
/// of 64 bytes (rounding costs at most 12.5 % beyond 64-byte rounding), and lie in slabs of at
/// least 8 cells. Larger sizes get an extent of their own, rounded to the source's grain, and
/// so do smaller ones when the budget that is left cannot hold a slab. An empty slab is at once
/// free for other classes. A base slab is 256 KiB, less when the capacity is below 16 MiB.
///
/// Memory comes from the source when it is first needed and stays for reuse; it goes back when
/// another size needs the budget. Records (40 bytes per allocation, about 600 per mapping) come
/// from the heap and are not counted.
///
/// Thread-safe: one lock for allocate and for the last release; copying, sharing and dropping other
/// handles is one atomic operation. The first touch of a fresh page costs a fault.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include <pikv/gpu/device.hpp>
#include <pikv/gpu/memory/extent_store.hpp>
#include <pikv/gpu/memory/slot_table.hpp>

namespace pikv::gpu {

class slab_arena;

/// Lets an arena go: it is deleted now, or with the last of its blocks.
struct retire_arena {
  void operator()(slab_arena* x) const noexcept;
};
using slab_arena_ptr = std::unique_ptr<slab_arena, retire_arena>;

class slab_arena final : public arena {
public:
  /// Called before each allocation with its number, from 1; an error other than ok is its result.
  using fault_hook = std::function<error(std::uint64_t nth)>;

  static slab_arena_ptr make(device_id device, arena_kind kind, std::size_t capacity_bytes,
                             fault_hook fault = {},
                             std::unique_ptr<memory_source> source = make_mapped_source());

  result<block> allocate(std::size_t bytes) override;
  arena_usage usage() const noexcept override;
  result<block> share(const buffer_ref& ref) override;

  std::size_t base_slab_bytes() const noexcept { return base_slab_; }

  /// What `bytes` occupy, in bytes.
  std::size_t rounded(std::size_t bytes) const noexcept;

private:
  friend struct retire_arena;
  struct size_class {
    std::size_t cell_bytes = 0;
    std::size_t slab_bytes = 0;
    detail::extent_list partial; ///< slabs with free cells
    detail::extent_list full;
  };

  slab_arena(device_id device, arena_kind kind, std::size_t capacity_bytes, fault_hook fault,
             std::unique_ptr<memory_source> source);
  ~slab_arena() override = default;

  void retain(std::uint32_t slot) noexcept override;
  void release(std::uint32_t slot) noexcept override;
  buffer_ref ref_of(std::uint32_t slot, std::size_t bytes) const noexcept override;

  using outcome = detail::extent_store::outcome;
  outcome place(detail::slot_record& x, std::size_t bytes);
  outcome place_in_slab(detail::slot_record& x, std::size_t bytes);
  outcome place_alone(detail::slot_record& x, std::size_t bytes);
  void free_slot(std::uint32_t slot) noexcept;
  void unplace(detail::slot_record& x) noexcept;
  std::size_t occupied(const detail::extent& x) const noexcept;
  error refusal(outcome why, std::size_t bytes) const;

  const device_id device_;
  const arena_kind kind_;
  const std::size_t base_slab_;
  const fault_hook fault_;
  std::atomic<std::uint64_t> attempts_{0};

  mutable std::mutex lock_; // guards all below; slots_ is also read without it
  detail::extent_store extents_;
  detail::slot_table slots_;
  std::array<size_class, 72> classes_; // up to 128 KiB
  detail::extent_list alone_;
  std::size_t used_ = 0;
  std::size_t requested_ = 0;
  std::size_t live_ = 0; ///< allocations
  bool retired_ = false;
};

} // namespace pikv::gpu
