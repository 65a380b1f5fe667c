// SPDX-License-Identifier: Apache-2.0
/// \file
/// Sequences of a store that are open as long as a run lasts.
#pragma once

#include <optional>
#include <vector>

#include <moe_engine/kv_store.hpp>

namespace pikv::moe_engine {

/// Borrows the store. Closes what it opened on every path.
class open_sequences {
public:
  explicit open_sequences(kv_store& kv) : kv_(kv) {}
  ~open_sequences() {
    if (auto closed = close(); !closed) {
      // Only on the way out of an error, which is the one to report.
    }
  }
  open_sequences(const open_sequences&) = delete;
  open_sequences& operator=(const open_sequences&) = delete;

  result<void> open(std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      const auto opened = kv_.open();
      if (!opened)
        return opened.error();
      ids_.push_back(*opened);
    }
    return {};
  }

  /// Closes all, whatever happens to single ones; the first error.
  result<void> close() {
    std::optional<error> first;
    for (const auto id : ids_)
      if (auto closed = kv_.close(id); !closed && !first)
        first = closed.error();
    ids_.clear();
    if (first)
      return *first;
    return {};
  }

  sequence_id operator[](std::size_t i) const noexcept { return ids_[i]; }

private:
  kv_store& kv_;
  std::vector<sequence_id> ids_;
};

} // namespace pikv::moe_engine
