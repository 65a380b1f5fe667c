// SPDX-License-Identifier: Apache-2.0
/// \file
/// Blocks in order of their utility, for policies whose utility changes at uses only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

namespace pikv::tools {

/// Who gives way first: the smallest utility, of equals the smallest tie, then the smallest block.
struct rank {
  double utility = 0;
  std::uint32_t tie = 0;
  std::uint32_t block = 0;
  friend bool operator<(const rank& a, const rank& b) noexcept {
    return std::tie(a.utility, a.tie, a.block) < std::tie(b.utility, b.tie, b.block);
  }
};

/// A 4-ary heap that knows where each block is. set and pop take O(log n).
class utility_heap {
public:
  explicit utility_heap(std::uint32_t blocks) : place_(blocks, nowhere) {}

  std::size_t size() const noexcept { return heap_.size(); }

  /// Adds the block or changes its rank.
  void set(const rank& x) {
    auto i = place_[x.block];
    if (i == nowhere) {
      i = static_cast<std::uint32_t>(heap_.size());
      heap_.push_back(x);
      up(i, x);
      return;
    }
    x < heap_[i] ? up(i, x) : down(i, x);
  }

  /// Removes and returns who gives way first. Precondition: size() > 0.
  std::uint32_t pop() {
    const auto first = heap_.front().block;
    const auto last = heap_.back();
    heap_.pop_back();
    place_[first] = nowhere;
    if (!heap_.empty())
      down(0, last);
    return first;
  }

private:
  static constexpr std::uint32_t nowhere = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::uint32_t arity = 4;

  void put(std::uint32_t i, const rank& x) noexcept {
    heap_[i] = x;
    place_[x.block] = i;
  }

  void up(std::uint32_t i, rank x) noexcept {
    for (; i > 0 && x < heap_[(i - 1) / arity]; i = (i - 1) / arity)
      put(i, heap_[(i - 1) / arity]);
    put(i, x);
  }

  void down(std::uint32_t i, rank x) noexcept {
    for (;;) {
      const auto begin = std::size_t{i} * arity + 1;
      const auto end = std::min(begin + arity, heap_.size());
      if (begin >= end)
        break;
      auto least = begin;
      for (auto c = begin + 1; c < end; ++c)
        if (heap_[c] < heap_[least])
          least = c;
      if (!(heap_[least] < x))
        break;
      put(i, heap_[least]);
      i = static_cast<std::uint32_t>(least);
    }
    put(i, x);
  }

  std::vector<rank> heap_;
  std::vector<std::uint32_t> place_; ///< of each block in heap_
};

} // namespace pikv::tools
