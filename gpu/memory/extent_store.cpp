// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/memory/extent_store.hpp>

#include <bit>
#include <utility>

namespace pikv::gpu::detail {

void extent::split(std::uint32_t cls, std::uint32_t count) noexcept {
  size_class = cls;
  cells = count;
  taken = 0;
  const std::uint32_t words = (count + 63) / 64;
  for (std::uint32_t i = 0; i < words; ++i)
    free[i] = ~std::uint64_t{0};
  if (count % 64 != 0)
    free[words - 1] = (std::uint64_t{1} << (count % 64)) - 1;
  free_words = words == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << words) - 1;
}

std::uint32_t extent::take_cell() noexcept {
  const auto word = static_cast<std::uint32_t>(std::countr_zero(free_words));
  const auto bit = static_cast<std::uint32_t>(std::countr_zero(free[word]));
  free[word] &= free[word] - 1;
  if (free[word] == 0)
    free_words &= free_words - 1;
  ++taken;
  return word * 64 + bit;
}

void extent::free_cell(std::uint32_t cell) noexcept {
  free[cell / 64] |= std::uint64_t{1} << (cell % 64);
  free_words |= std::uint64_t{1} << (cell / 64);
  --taken;
}

extent_store::extent_store(std::size_t capacity_bytes, std::unique_ptr<memory_source> source)
    : capacity_(capacity_bytes), source_(std::move(source)), page_(source_->grain()) {}

extent_store::~extent_store() {
  while (mapped_ > reserved_)
    unmap_idle_one(0);
}

void extent_store::count_reserved(std::size_t bytes) noexcept {
  reserved_ += bytes;
  if (reserved_ > high_water_)
    high_water_ = reserved_;
}

extent_store::outcome extent_store::take(std::size_t bytes, extent_list& to) {
  if (bytes > capacity_)
    return outcome::over_budget;
  bytes = round(bytes);
  if (const auto it = bins_.find(bytes); it != bins_.end() && !it->second.idle.empty()) {
    to.splice(to.begin(), it->second.idle, it->second.idle.begin());
    count_reserved(bytes);
    return outcome::ok;
  }
  if (bytes > capacity_ - reserved_)
    return outcome::over_budget;
  while (bytes > capacity_ - mapped_)
    unmap_idle_one(bytes - (capacity_ - mapped_));
  return map_new(bytes, to);
}

extent_store::outcome extent_store::map_new(std::size_t bytes, extent_list& to) {
  extent_list made(1);
  bin& home = bins_[bytes];
  std::byte* base = nullptr;
  for (;;) {
    base = source_->take(bytes);
    if (base != nullptr || mapped_ == reserved_)
      break;
    ++home.extents; // holds the bin while idle extents go
    unmap_idle_one(bytes);
    --home.extents;
  }
  if (base == nullptr) {
    if (home.extents == 0)
      bins_.erase(bytes);
    return outcome::source_refused;
  }
  made.front().base = base;
  made.front().bytes = bytes;
  source_->forbid(base, bytes);
  ++home.extents;
  mapped_ += bytes;
  count_reserved(bytes);
  to.splice(to.begin(), made);
  return outcome::ok;
}

void extent_store::give_back(extent_list& from, extent_list::iterator x) noexcept {
  reserved_ -= x->bytes;
  x->size_class = extent::no_class;
  extent_list& idle = bins_.find(x->bytes)->second.idle;
  idle.splice(idle.begin(), from, x);
}

void extent_store::unmap_idle_one(std::size_t wanted_bytes) noexcept {
  // The smallest that is large enough on its own, or else the largest.
  auto pick = bins_.end();
  for (auto it = bins_.begin(); it != bins_.end(); ++it)
    if (!it->second.idle.empty()) {
      pick = it;
      if (it->first >= wanted_bytes)
        break;
    }
  if (pick == bins_.end())
    return;
  bin& from = pick->second;
  const extent& x = from.idle.back();
  source_->allow(x.base, x.bytes);
  source_->give_back(x.base, x.bytes);
  mapped_ -= x.bytes;
  from.idle.pop_back();
  if (--from.extents == 0)
    bins_.erase(pick);
}

} // namespace pikv::gpu::detail
