// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/memory/slab_arena.hpp>

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

#include <fmt/format.h>

namespace pikv::gpu {

namespace {

constexpr std::size_t grain = 64; // bytes
constexpr std::size_t largest_base_slab = std::size_t{256} << 10;
constexpr std::size_t smallest_base_slab = std::size_t{4} << 10;
constexpr std::size_t least_cells = 8;
constexpr std::uint64_t one_generation = std::uint64_t{1} << 32;
constexpr std::uint64_t count_mask = one_generation - 1;

struct class_of_size {
  std::size_t index;
  std::size_t cell_bytes;
};

/// Eight classes per power of two.
class_of_size classify(std::size_t bytes) noexcept {
  const std::size_t last = (bytes + grain - 1) / grain - 1; // in grains
  const auto width = static_cast<std::size_t>(std::bit_width(last));
  const std::size_t shift = width > 4 ? width - 4 : 0;
  return {8 * shift + (last >> shift), (((last >> shift) + 1) << shift) * grain};
}

std::size_t base_slab_for(std::size_t capacity) noexcept {
  return std::clamp(std::bit_floor(capacity / 64), smallest_base_slab, largest_base_slab);
}

} // namespace

void retire_arena::operator()(slab_arena* x) const noexcept {
  std::unique_lock guard(x->lock_);
  x->retired_ = true;
  const bool last = x->live_ == 0;
  guard.unlock();
  if (last)
    delete x;
}

slab_arena_ptr slab_arena::make(device_id device, arena_kind kind, std::size_t capacity_bytes,
                                fault_hook fault, std::unique_ptr<memory_source> source) {
  return slab_arena_ptr(
      new slab_arena(device, kind, capacity_bytes, std::move(fault), std::move(source)));
}

slab_arena::slab_arena(device_id device, arena_kind kind, std::size_t capacity_bytes,
                       fault_hook fault, std::unique_ptr<memory_source> source)
    : device_(device), kind_(kind), base_slab_(base_slab_for(capacity_bytes)),
      fault_(std::move(fault)), extents_(capacity_bytes, std::move(source)) {
  for (std::size_t bytes = grain; bytes <= base_slab_ / 2; bytes += grain) {
    const auto [index, cell_bytes] = classify(bytes);
    classes_[index].cell_bytes = cell_bytes;
    classes_[index].slab_bytes =
        extents_.round(std::max(base_slab_, std::bit_ceil(least_cells * cell_bytes)));
  }
}

std::size_t slab_arena::rounded(std::size_t bytes) const noexcept {
  return bytes <= base_slab_ / 2 ? classify(bytes).cell_bytes : extents_.round(bytes);
}

std::size_t slab_arena::occupied(const detail::extent& x) const noexcept {
  return x.size_class == detail::extent::no_class ? x.bytes : classes_[x.size_class].cell_bytes;
}

result<block> slab_arena::allocate(std::size_t bytes) {
  if (bytes == 0)
    return {errc::invalid_argument, "an allocation needs at least 1 byte"};
  if (fault_)
    if (error x = fault_(attempts_.fetch_add(1, std::memory_order_relaxed) + 1); x.code != errc::ok)
      return x;
  const std::lock_guard guard(lock_);
  std::uint32_t slot = detail::slot_table::none;
  try {
    slot = slots_.take();
    detail::slot_record& x = slots_[slot];
    const outcome o = place(x, bytes);
    if (o != outcome::ok) {
      slots_.give_back(slot);
      return refusal(o, bytes);
    }
    extents_.source().allow(x.data, bytes);
    x.bytes = bytes;
    used_ += occupied(*x.home);
    requested_ += bytes;
    ++live_;
    x.state.fetch_add(1, std::memory_order_release);
    return make_block(x.data, bytes, slot);
  } catch (const std::bad_alloc&) {
    if (slot != detail::slot_table::none)
      slots_.give_back(slot);
    return {errc::over_budget, "the heap is exhausted: no memory for the record of an allocation"};
  }
}

slab_arena::outcome slab_arena::place(detail::slot_record& x, std::size_t bytes) {
  if (bytes <= base_slab_ / 2)
    if (place_in_slab(x, bytes) == outcome::ok)
      return outcome::ok;
  return place_alone(x, bytes);
}

slab_arena::outcome slab_arena::place_in_slab(detail::slot_record& x, std::size_t bytes) {
  const std::size_t index = classify(bytes).index;
  size_class& c = classes_[index];
  if (c.partial.empty()) {
    const outcome o = extents_.take(c.slab_bytes, c.partial);
    if (o != outcome::ok)
      return o;
    c.partial.front().split(static_cast<std::uint32_t>(index),
                            static_cast<std::uint32_t>(c.slab_bytes / c.cell_bytes));
  }
  x.home = c.partial.begin();
  x.cell = x.home->take_cell();
  x.data = x.home->base + x.cell * c.cell_bytes;
  if (x.home->taken == x.home->cells)
    c.full.splice(c.full.begin(), c.partial, x.home);
  return outcome::ok;
}

slab_arena::outcome slab_arena::place_alone(detail::slot_record& x, std::size_t bytes) {
  const outcome o = extents_.take(bytes, alone_);
  if (o != outcome::ok)
    return o;
  x.home = alone_.begin();
  x.data = x.home->base;
  return outcome::ok;
}

void slab_arena::unplace(detail::slot_record& x) noexcept {
  if (x.home->size_class == detail::extent::no_class) {
    extents_.give_back(alone_, x.home);
    return;
  }
  size_class& c = classes_[x.home->size_class];
  if (x.home->taken == x.home->cells)
    c.partial.splice(c.partial.begin(), c.full, x.home);
  x.home->free_cell(x.cell);
  if (x.home->taken == 0)
    extents_.give_back(c.partial, x.home);
}

void slab_arena::retain(std::uint32_t slot) noexcept {
  slots_[slot].state.fetch_add(1, std::memory_order_relaxed);
}

void slab_arena::release(std::uint32_t slot) noexcept {
  const std::uint64_t before = slots_[slot].state.fetch_sub(1, std::memory_order_acq_rel);
  if ((before & count_mask) == 1)
    free_slot(slot);
}

void slab_arena::free_slot(std::uint32_t slot) noexcept {
  std::unique_lock guard(lock_);
  detail::slot_record& x = slots_[slot];
  x.state.fetch_add(one_generation, std::memory_order_relaxed);
  const std::size_t bytes = occupied(*x.home);
  extents_.source().forbid(x.data, bytes);
  used_ -= bytes;
  requested_ -= x.bytes;
  unplace(x);
  slots_.give_back(slot);
  const bool last = --live_ == 0 && retired_;
  guard.unlock();
  if (last)
    delete this;
}

buffer_ref slab_arena::ref_of(std::uint32_t slot, std::size_t bytes) const noexcept {
  const std::uint64_t state = slots_[slot].state.load(std::memory_order_relaxed);
  return {device_, kind_, slot, static_cast<std::uint32_t>(state >> 32), bytes};
}

result<block> slab_arena::share(const buffer_ref& ref) {
  if (ref.device != device_ || ref.arena != kind_)
    return {errc::invalid_argument,
            fmt::format("this buffer lies on device {}, arena {}; asked was device {}, arena {}",
                        ref.device.value, to_string(ref.arena),
                        device_.value, to_string(kind_))};
  if (ref.slot < slots_.size()) {
    detail::slot_record& x = slots_[ref.slot];
    std::uint64_t state = x.state.load(std::memory_order_acquire);
    while (state >> 32 == ref.generation && (state & count_mask) != 0)
      if (x.state.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel,
                                        std::memory_order_acquire)) {
        block shared = make_block(x.data, x.bytes, ref.slot);
        if (shared.bytes() == ref.bytes)
          return shared;
        break;
      }
  }
  return {
      errc::corrupt_page,
      fmt::format("the buffer in slot {} (generation {}, {} bytes) of device {} is gone: it was "
                  "freed before it was read; keep a block of it while its name travels",
                  ref.slot, ref.generation, ref.bytes, device_.value)};
}

arena_usage slab_arena::usage() const noexcept {
  const std::lock_guard guard(lock_);
  return {.capacity = extents_.capacity(),
          .reserved = extents_.reserved(),
          .used = used_,
          .requested = requested_,
          .mapped = extents_.mapped(),
          .high_water = extents_.high_water()};
}

error slab_arena::refusal(outcome why, std::size_t bytes) const {
  if (why == outcome::source_refused)
    return {errc::over_budget,
            fmt::format("there is no run of {} bytes left for device {} ({} of {} bytes of the "
                        "budget are mapped)",
                        bytes, device_.value, extents_.mapped(), extents_.capacity())};
  return {
      errc::over_budget,
      fmt::format("{} bytes do not fit: {} of {} bytes of device {}'s {} are reserved, {} in use",
                  bytes, extents_.reserved(), extents_.capacity(), device_.value,
                  to_string(kind_), used_)};
}

} // namespace pikv::gpu
