// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/selection/selection_policy.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

// Runs once per (row, KV head): compiled for each instruction set and chosen at run time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "pikv/policies/selection/select.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace pikv::policies::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using floats = hn::CappedTag<float, 16>;
using ints = hn::RebindToSigned<floats>;
using float_vector = hn::Vec<floats>;

// A row of scores as whole vectors: NaN reads as -inf, +inf as the largest float, and the last
// vector is filled up with -inf.
class score_row {
public:
  HWY_INLINE score_row(const float* x, std::size_t count)
      : x_(x), whole_(count - count % hn::Lanes(floats{})) {
    std::fill_n(tail_, 16, -std::numeric_limits<float>::infinity());
    std::copy(x + whole_, x + count, tail_);
  }
  HWY_INLINE std::size_t whole() const { return whole_; }
  HWY_INLINE float_vector at(std::size_t i) const { return clean(hn::LoadU(floats{}, x_ + i)); }
  HWY_INLINE float_vector tail() const { return clean(hn::LoadU(floats{}, tail_)); }

private:
  static HWY_INLINE float_vector clean(float_vector x) {
    const floats d;
    const auto largest = hn::Set(d, std::numeric_limits<float>::max());
    const auto none = hn::Set(d, -std::numeric_limits<float>::infinity());
    return hn::IfThenElse(hn::Ge(x, hn::Neg(largest)), hn::Min(x, largest), none);
  }

  const float* x_;
  std::size_t whole_;
  HWY_ALIGN float tail_[16];
};

// exp(x - top), and 0 where that is no longer a normal float.
HWY_INLINE float_vector exp_below(float_vector x, float_vector top) {
  const floats d;
  const auto gap = hn::Sub(x, top);
  return hn::IfThenElseZero(hn::Ge(gap, hn::Set(d, -87.0f)), hn::Exp(d, gap));
}

HWY_INLINE float largest_of(const score_row& row) {
  const floats d;
  auto top = row.tail();
  for (std::size_t i = 0; i < row.whole(); i += hn::Lanes(d))
    top = hn::Max(top, row.at(i));
  return hn::GetLane(hn::MaxOfLanes(d, top));
}

// Adds one head's softmax, divided by `heads`, to the shares.
HWY_INLINE void add_softmax(const float* scores, float other, float heads, float* shares,
                            std::size_t pages) {
  const floats d;
  const auto lanes = hn::Lanes(d);
  const score_row row(scores, pages);
  const auto top_score = std::max(largest_of(row), other);
  if (top_score == -std::numeric_limits<float>::infinity())
    return;
  const auto top = hn::Set(d, top_score);
  const auto tail = exp_below(row.tail(), top);
  auto sum = tail;
  const float beside = other - top_score < -87.0f ? 0.0f : std::exp(other - top_score);
  for (std::size_t i = 0; i < row.whole(); i += lanes)
    sum = hn::Add(sum, exp_below(row.at(i), top));
  const auto scale = hn::Set(d, 1.0f / ((hn::GetLane(hn::SumOfLanes(d, sum)) + beside) * heads));
  // Computing each exponential twice is cheaper than a buffer for any number of pages.
  for (std::size_t i = 0; i < row.whole(); i += lanes)
    hn::StoreU(hn::MulAdd(exp_below(row.at(i), top), scale, hn::LoadU(d, shares + i)), d,
               shares + i);
  HWY_ALIGN float rest[16] = {};
  hn::StoreU(hn::Mul(tail, scale), d, rest);
  for (auto i = row.whole(); i < pages; ++i)
    shares[i] += rest[i - row.whole()];
}

void mean_softmax(const float* scores, std::size_t heads, std::size_t pages_stride,
                  const float* rest, float* shares, std::size_t pages) {
  std::fill_n(shares, pages, 0.0f);
  for (std::size_t h = 0; h < heads; ++h)
    add_softmax(scores + h * pages_stride,
                rest != nullptr ? rest[h] : -std::numeric_limits<float>::infinity(),
                static_cast<float>(heads), shares, pages);
}

// Integers in the order of the floats, so that a threshold can be found by bisection: -0 equals +0
// and NaN is below all others. Writes whole vectors.
void order_keys(const float* shares, std::size_t count, std::int32_t* keys) {
  const floats d;
  const ints di;
  const auto step = [=](const float* from, std::int32_t* to) HWY_ATTR {
    const auto x = hn::Add(hn::LoadU(d, from), hn::Zero(d));
    const auto bits = hn::BitCast(di, x);
    const auto flipped = hn::Xor(bits, hn::Set(di, std::numeric_limits<std::int32_t>::max()));
    const auto key = hn::IfThenElse(hn::Lt(bits, hn::Zero(di)), flipped, bits);
    const auto is_number = hn::RebindMask(di, hn::Eq(x, x));
    const auto lowest = hn::Set(di, std::numeric_limits<std::int32_t>::min() + 1);
    hn::StoreU(hn::IfThenElse(is_number, key, lowest), di, to);
  };
  const auto whole = count - count % hn::Lanes(d);
  for (std::size_t i = 0; i < whole; i += hn::Lanes(d))
    step(shares + i, keys + i);
  if (whole == count)
    return;
  HWY_ALIGN float rest[16] = {};
  std::copy(shares + whole, shares + count, rest);
  step(rest, keys + whole);
}

// Keys at or above the threshold; `count` is a multiple of 16.
std::size_t count_from(const std::int32_t* keys, std::size_t count, std::int32_t threshold) {
  const ints d;
  const auto below = hn::Set(d, threshold - 1);
  auto counts = hn::Zero(d);
  for (std::size_t i = 0; i < count; i += hn::Lanes(d))
    counts = hn::Sub(counts, hn::VecFromMask(d, hn::Gt(hn::LoadU(d, keys + i), below)));
  return static_cast<std::size_t>(hn::GetLane(hn::SumOfLanes(d, counts)));
}

struct cut {
  std::int32_t key = 0;   // all above are taken,
  std::size_t at_key = 0; // and this many of those equal to it
};

// The cut that takes exactly `wanted` keys, of which there are at least so many above the minimum.
cut find_cut(const std::int32_t* keys, std::size_t count, std::size_t wanted) {
  std::int64_t low = std::numeric_limits<std::int32_t>::min() + 1; // at least `wanted` from here on
  std::int64_t high = std::numeric_limits<std::int32_t>::max();    // none: above the key of inf
  std::size_t from_high = 0;
  while (high - low > 1) {
    const auto middle = low + (high - low) / 2;
    const auto from_middle = count_from(keys, count, static_cast<std::int32_t>(middle));
    if (from_middle == wanted)
      return {static_cast<std::int32_t>(middle - 1), 0};
    if (from_middle > wanted) {
      low = middle;
    } else {
      high = middle;
      from_high = from_middle;
    }
  }
  return {static_cast<std::int32_t>(low), wanted - from_high};
}

// `keys` has room for a multiple of 16 that is not below `pages`, `chosen` for `wanted` indices.
// Returns how many were chosen.
std::size_t select_top(const float* shares, const std::uint8_t* allowed, std::size_t pages,
                       std::size_t wanted, std::int32_t* keys, std::uint32_t* chosen) {
  constexpr auto never = std::numeric_limits<std::int32_t>::min();
  const auto padded = (pages + 15) / 16 * 16;
  order_keys(shares, pages, keys);
  for (std::size_t i = 0; allowed != nullptr && i < pages; ++i)
    keys[i] = allowed[i] != 0 ? keys[i] : never;
  std::fill(keys + pages, keys + padded, never);

  wanted = std::min(wanted, count_from(keys, padded, never + 1));
  if (wanted == 0)
    return 0;
  const auto [key, at_key] = find_cut(keys, padded, wanted);
  auto ties = at_key;
  std::size_t found = 0;
  for (std::uint32_t i = 0; found < wanted; ++i) {
    const auto tie = static_cast<std::size_t>(keys[i] == key) & static_cast<std::size_t>(ties > 0);
    chosen[found] = i;
    found += static_cast<std::size_t>(keys[i] > key) | tie;
    ties -= tie;
  }
  return wanted;
}

} // namespace pikv::policies::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pikv::policies {

HWY_EXPORT(mean_softmax);
HWY_EXPORT(select_top);

void mean_softmax(const float* scores, std::size_t heads, std::size_t pages_stride,
                  std::span<float> shares, const float* rest) noexcept {
  HWY_DYNAMIC_DISPATCH(mean_softmax)
  (scores, heads, pages_stride, rest, shares.data(), shares.size());
}

void select_top(std::span<const float> shares, std::span<const std::uint8_t> allowed,
                std::size_t count, std::vector<std::uint32_t>& workspace,
                std::vector<std::uint32_t>& chosen) {
  const auto wanted = std::min(count, shares.size());
  if (wanted == 0)
    return;
  const auto before = chosen.size();
  workspace.resize(std::max(workspace.size(), (shares.size() + 15) / 16 * 16));
  chosen.resize(before + wanted);
  // Signed and unsigned integers of one size may alias.
  auto* keys = reinterpret_cast<std::int32_t*>(workspace.data());
  const auto found =
      HWY_DYNAMIC_DISPATCH(select_top)(shares.data(), allowed.empty() ? nullptr : allowed.data(),
                                       shares.size(), wanted, keys, chosen.data() + before);
  chosen.resize(before + found);
}

} // namespace pikv::policies
#endif
