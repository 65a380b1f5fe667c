// SPDX-License-Identifier: Apache-2.0
/// \file
/// Where an arena's extents come from: the system page by page, or one region taken at the start,
/// as on devices where an allocation would stop all running work. Not thread-safe: the arena's lock
/// guards it.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>

namespace pikv::gpu {

class memory_source {
public:
  virtual ~memory_source() = default;

  /// Extents are multiples of this, bytes; a power of two.
  virtual std::size_t grain() const noexcept = 0;
  /// Null when there is no such run of `bytes`.
  virtual std::byte* take(std::size_t bytes) noexcept = 0;
  virtual void give_back(std::byte* data, std::size_t bytes) noexcept = 0;
  /// Marks memory that nobody may touch, and that somebody may again; for AddressSanitizer.
  virtual void forbid(void* data, std::size_t bytes) noexcept = 0;
  virtual void allow(void* data, std::size_t bytes) noexcept = 0;
};

/// Anonymous mappings of this process, one per extent.
std::unique_ptr<memory_source> make_mapped_source();

/// Cuts extents from one region, the best fit first; neighbours that are free are one run again.
/// `release` runs at the end. The region may be device memory: it is never read or written here.
class region_source final : public memory_source {
public:
  region_source(std::byte* base, std::size_t bytes, std::function<void()> release);
  ~region_source() override;
  region_source(const region_source&) = delete;
  region_source& operator=(const region_source&) = delete;

  std::size_t grain() const noexcept override { return 4096; }
  std::byte* take(std::size_t bytes) noexcept override;
  void give_back(std::byte* data, std::size_t bytes) noexcept override;
  void forbid(void*, std::size_t) noexcept override {}
  void allow(void*, std::size_t) noexcept override {}

private:
  std::map<std::byte*, std::size_t> free_; ///< runs by address; neighbours never touch
  std::function<void()> release_;
};

} // namespace pikv::gpu
