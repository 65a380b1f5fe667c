// SPDX-License-Identifier: Apache-2.0
/// \file
/// The pages of one (sequence, layer) on one device, in ascending position. Kernels read the views
/// in place; a lease keeps a table as it is while they do. The owner changes a table in place when
/// nobody leases it and copies it first when somebody does.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <pikv/gpu/device.hpp>
#include <pikv/gpu/kernels.hpp>

namespace pikv {

/// The memory behind a view. Sequences that were forked share blocks.
struct page_memory {
  gpu::block data;
  gpu::block summary;
  std::uint32_t page = 0; ///< index within (sequence, layer)
};

/// Tokens in all pages of a table, and what all that are kept have.
struct page_tokens {
  std::uint64_t kept = 0;
  std::uint64_t evicted = 0;
  std::uint8_t summary_parts = 0xFF; ///< gpu::summary_part bits
};

struct page_table {
  std::vector<gpu::page_view> views;
  std::vector<page_memory> memory; ///< one per view
  std::shared_ptr<gpu::table_mirror> mirror;
  std::uint64_t edition = 0; ///< gpu::page_list
  std::atomic<std::uint32_t> leases{0};

  page_table() = default;
  page_table(const page_table& x)
      : views(x.views), memory(x.memory), mirror(x.mirror), edition(x.edition), tokens_(x.tokens_),
        counted_(x.counted_), counted_edition_(x.counted_edition_) {}

  /// Counted when the table is leased.
  const page_tokens& tokens() const noexcept { return tokens_; }

  std::uint64_t bytes() const noexcept {
    return sizeof *this + views.capacity() * sizeof(gpu::page_view)
           + memory.capacity() * sizeof(page_memory) + copy_bytes();
  }

  /// Of those, what the mirror takes of the device's memory.
  std::uint64_t copy_bytes() const noexcept { return mirror ? mirror->bytes() : 0; }

private:
  friend class leased_table;
  void count() noexcept {
    if (std::exchange(counted_edition_, edition) != edition) {
      tokens_ = {};
      counted_ = 0;
    }
    for (; counted_ < views.size(); ++counted_) {
      const auto& v = views[counted_];
      (v.data != nullptr ? tokens_.kept : tokens_.evicted) += v.tokens;
      if (v.data != nullptr)
        tokens_.summary_parts &= v.summary_parts;
    }
  }

  page_tokens tokens_;
  std::size_t counted_ = 0; ///< views of that edition
  std::uint64_t counted_edition_ = 0;
};

/// Keeps a table unchanged while it lives. Any thread may drop it.
class table_lease {
public:
  table_lease() = default;
  explicit table_lease(std::shared_ptr<page_table> t) noexcept : table_(std::move(t)) {
    table_->leases.fetch_add(1, std::memory_order_relaxed);
  }
  table_lease(table_lease&& x) noexcept : table_(std::exchange(x.table_, nullptr)) {}
  table_lease& operator=(table_lease&& x) noexcept {
    std::swap(table_, x.table_);
    return *this;
  }
  ~table_lease() {
    if (table_)
      table_->leases.fetch_sub(1, std::memory_order_release);
  }

  std::span<const gpu::page_view> views() const noexcept { return pages().views; }
  gpu::page_list pages() const noexcept {
    return table_ ? gpu::page_list{table_->views, table_->mirror.get(), table_->edition}
                  : gpu::page_list{};
  }
  const page_table* get() const noexcept { return table_.get(); }

private:
  std::shared_ptr<page_table> table_;
};

/// The owner's side. Only the owner's thread uses it.
class leased_table {
public:
  leased_table() : table_(std::make_shared<page_table>()) {}

  table_lease lease() const {
    table_->count(); // changes nothing where somebody leases it already
    return table_lease{table_};
  }
  const page_table& read() const noexcept { return *table_; }

  /// The table to change in any way: the same one, or a copy when a kernel still reads it.
  page_table& write() {
    auto& t = own();
    t.edition = next_edition();
    return t;
  }

  /// The same for adding at the end only: the mirror keeps what it has.
  page_table& extend() { return own(); }

  /// Lets kernels of this device keep a copy of the table, from now on.
  void mirror_on(gpu::device& device) {
    if (table_->mirror)
      return;
    table_->mirror = device.make_mirror();
    if (table_->mirror && table_->edition == 0)
      table_->edition = next_edition();
  }

private:
  page_table& own() {
    if (table_->leases.load(std::memory_order_acquire) != 0)
      table_ = std::make_shared<page_table>(*table_);
    return *table_;
  }

  static std::uint64_t next_edition() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
  }

  std::shared_ptr<page_table> table_;
};

} // namespace pikv
