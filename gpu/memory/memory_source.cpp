// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/memory/memory_source.hpp>

#include <iterator>
#include <new>
#include <utility>

#include <sys/mman.h>
#include <unistd.h>

#include <pikv/gpu/memory/poison.hpp>

namespace pikv::gpu {

namespace {

class mapped_source final : public memory_source {
public:
  std::size_t grain() const noexcept override { return page_; }

  std::byte* take(std::size_t bytes) noexcept override {
    void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return base == MAP_FAILED ? nullptr : static_cast<std::byte*>(base);
  }
  void give_back(std::byte* data, std::size_t bytes) noexcept override { munmap(data, bytes); }
  void forbid(void* data, std::size_t bytes) noexcept override { detail::poison(data, bytes); }
  void allow(void* data, std::size_t bytes) noexcept override { detail::unpoison(data, bytes); }

private:
  const std::size_t page_ = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
};

} // namespace

std::unique_ptr<memory_source> make_mapped_source() { return std::make_unique<mapped_source>(); }

region_source::region_source(std::byte* base, std::size_t bytes, std::function<void()> release)
    : release_(std::move(release)) {
  bytes -= bytes % grain();
  if (bytes > 0)
    free_.emplace(base, bytes);
}

region_source::~region_source() {
  if (release_)
    release_();
}

std::byte* region_source::take(std::size_t bytes) noexcept {
  auto best = free_.end();
  for (auto it = free_.begin(); it != free_.end(); ++it)
    if (it->second >= bytes && (best == free_.end() || it->second < best->second))
      best = it;
  if (best == free_.end())
    return nullptr;
  // From the end of the run, so that its record stays in place.
  best->second -= bytes;
  auto* data = best->first + best->second;
  if (best->second == 0)
    free_.erase(best);
  return data;
}

void region_source::give_back(std::byte* data, std::size_t bytes) noexcept {
  auto next = free_.lower_bound(data);
  if (next != free_.begin())
    if (auto before = std::prev(next); before->first + before->second == data) {
      before->second += bytes;
      if (next != free_.end() && data + bytes == next->first) {
        before->second += next->second;
        free_.erase(next);
      }
      return;
    }
  if (next != free_.end() && data + bytes == next->first) {
    auto node = free_.extract(next); // no allocation: this must not fail
    node.key() = data;
    node.mapped() += bytes;
    free_.insert(std::move(node));
    return;
  }
  try {
    free_.emplace(data, bytes);
  } catch (const std::bad_alloc&) {
    // The run is out of use until the region goes: the budget shrinks, nothing breaks.
  }
}

} // namespace pikv::gpu
