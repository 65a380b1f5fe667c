// SPDX-License-Identifier: Apache-2.0
#include "reuse_distance.hpp"

#include <bit>
#include <limits>

namespace pikv::tools {

namespace {

/// Counts marks before a place; Fenwick's tree.
class mark_counter {
public:
  explicit mark_counter(std::size_t n) : sums_(n + 1) {}
  void add(std::size_t i, std::int32_t x) noexcept {
    for (++i; i < sums_.size(); i += i & (~i + 1))
      sums_[i] += x;
  }
  std::int64_t before(std::size_t i) const noexcept {
    std::int64_t sum = 0;
    for (; i > 0; i -= i & (~i + 1))
      sum += sums_[i];
    return sum;
  }

private:
  std::vector<std::int32_t> sums_;
};

} // namespace

reuse_histogram reuse_distances(const trace& x) {
  constexpr auto never = std::numeric_limits<std::size_t>::max();
  reuse_histogram out;
  mark_counter last_uses(x.uses()); // a mark at the last use of each block so far
  std::vector<std::size_t> last(x.blocks, never);
  for (std::size_t k = 0; k < x.uses(); ++k) {
    auto& before = last[x.block[k]];
    if (before == never) {
      ++out.first_uses;
    } else {
      const auto others =
          static_cast<std::uint64_t>(last_uses.before(k) - last_uses.before(before + 1));
      const auto bin = static_cast<std::size_t>(std::bit_width(others));
      if (out.bins.size() <= bin)
        out.bins.resize(bin + 1);
      ++out.bins[bin];
      last_uses.add(before, -1);
    }
    last_uses.add(k, 1);
    before = k;
  }
  return out;
}

} // namespace pikv::tools
