// SPDX-License-Identifier: Apache-2.0
// Groups of values as integers of 2, 3, 4 or 8 bits with a scale and a least value: encoding.
// Compiled once per target.
#if defined(PIKV_GPU_HOST_INTEGER_GROUPS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef PIKV_GPU_HOST_INTEGER_GROUPS_INL
#undef PIKV_GPU_HOST_INTEGER_GROUPS_INL
#else
#define PIKV_GPU_HOST_INTEGER_GROUPS_INL
#endif

#include <algorithm>
#include <cstring>

#include <pikv/gpu/host/half.hpp>
#include <pikv/gpu/host/simd-inl.hpp>

HWY_BEFORE_NAMESPACE();
namespace pikv::gpu::HWY_NAMESPACE {

/// Squared error and norm of one part of a page, by lane, and whether every group fits.
struct quality {
  HWY_ALIGN float error[full_lanes] = {};
  HWY_ALIGN float norm[full_lanes] = {};
  bool representable = true;

  static double total(const float* lanes) {
    double sum = 0;
    for (std::size_t i = 0; i < full_lanes; ++i)
      sum += static_cast<double>(lanes[i]);
    return sum;
  }
};

/// The values q * scale + low for q = 0 ... levels; scale and low are f16 and kept as f32 beside.
struct grid {
  std::uint16_t scale16 = 0;
  std::uint16_t low16 = 0;
  float scale = 0;
  float low = 0;

  grid() = default;
  grid(std::uint16_t scale_bits, std::uint16_t low_bits)
      : scale16(scale_bits), low16(low_bits), scale(detail::f32_from_f16(scale_bits)),
        low(detail::f32_from_f16(low_bits)) {}
};

/// One group: `x[0...n)`, and copies of x[0] up to `size`, so that vectors need no tail.
struct value_group {
  const float* x;
  std::size_t n;
  std::size_t size;
  float levels; ///< the largest integer
};

/// Lanes i ... of the group that are below n.
template <class D>
HWY_INLINE auto in_group(D d, const value_group& g, std::size_t i) {
  const hn::RebindToSigned<D> di;
  return hn::RebindMask(d, hn::Lt(hn::Iota(di, static_cast<std::int32_t>(i)),
                                  hn::Set(di, static_cast<std::int32_t>(g.n))));
}

/// Smallest and largest value, and whether all are finite.
struct value_range {
  float low, high;
  bool finite;
};

template <class D>
HWY_INLINE value_range range_of(D d, const value_group& g) {
  auto low = hn::LoadU(d, g.x);
  auto high = low;
  auto check = hn::Zero(d); // NaN as soon as one value is not finite
  for (std::size_t i = 0; i < g.size; i += hn::Lanes(d)) {
    const auto v = hn::LoadU(d, g.x + i);
    low = hn::Min(low, v);
    high = hn::Max(high, v);
    check = hn::MulAdd(v, hn::Zero(d), check);
  }
  return {hn::GetLane(hn::MinOfLanes(d, low)), hn::GetLane(hn::MaxOfLanes(d, high)),
          hn::AllTrue(d, hn::Eq(check, hn::Zero(d)))};
}

/// The integer nearest to each value, as lanes of f32 between 0 and levels.
template <class D, class V>
HWY_INLINE V nearest(D d, V v, V low, V inverse, float levels) {
  const auto y = hn::Mul(hn::Sub(v, low), inverse);
  return hn::Round(hn::Min(hn::Max(y, hn::Zero(d)), hn::Set(d, levels)));
}

/// Part of a rounding error that the next token's value of the same channel takes over. Measured on
/// tiny_moe (docs/quality.md): more gains nothing, and all of it loses what single tokens say.
constexpr float carried = 0.25F;

/// Writes the group's integers to `q` and adds what that costs to `sums`. `carry`, or null: by
/// value, what rounding took from the group before; at most half a scale of it counts here.
template <class D>
HWY_INLINE void write_integers(D d, const value_group& g, const grid& on, std::uint8_t* q,
                               float* carry, quality& sums) {
  const auto inverse = hn::Set(d, on.scale > 0 ? 1 / on.scale : 0.0F);
  const auto low = hn::Set(d, on.low);
  const auto scale = hn::Set(d, on.scale);
  const auto most = hn::Set(d, on.scale * 0.5F);
  auto error = hn::Load(d, sums.error);
  auto norm = hn::Load(d, sums.norm);
  for (std::size_t i = 0; i < g.size; i += hn::Lanes(d)) {
    const auto v = hn::LoadU(d, g.x + i);
    auto wanted = v;
    if (carry != nullptr) {
      const auto before = hn::Max(hn::Neg(most), hn::Min(hn::LoadU(d, carry + i), most));
      wanted = hn::MulAdd(before, hn::Set(d, carried), v);
    }
    const auto integer = nearest(d, wanted, low, inverse, g.levels);
    const hn::Rebind<std::uint8_t, D> du8;
    hn::StoreU(hn::DemoteTo(du8, hn::NearestInt(integer)), du8, q + i);
    const auto stored = hn::MulAdd(integer, scale, low);
    if (carry != nullptr)
      hn::StoreU(hn::Sub(wanted, stored), d, carry + i);
    const auto in = in_group(d, g, i);
    const auto e = hn::Sub(v, stored);
    error = hn::Add(error, hn::IfThenElseZero(in, hn::Mul(e, e)));
    norm = hn::Add(norm, hn::IfThenElseZero(in, hn::Mul(v, v)));
  }
  hn::Store(error, d, sums.error);
  hn::Store(norm, d, sums.norm);
}

/// Quantises one group to integers 0 ... levels in `q` and writes its f16 (scale, min).
/// min is rounded down and scale up, so that the grid covers the group: no value is off by more
/// than half a scale, and an eighth more with a carry. Grids of least squared error were tried:
/// they cut what is rare, and attention lives of the rare (docs/quality.md).
template <class D>
HWY_INLINE void quantise_group(D d, const value_group& g, std::uint8_t* q, std::uint16_t* scale_min,
                               float* carry, quality& sums) {
  const auto range = range_of(d, g);
  const bool flat = range.low == range.high;
  const std::uint16_t low16 = flat ? detail::f16_from_f32(range.low) : detail::f16_below(range.low);
  const float step = (range.high - detail::f32_from_f16(low16)) / g.levels;
  const grid on(flat ? std::uint16_t{0} : detail::f16_above(step), low16);
  sums.representable &= range.finite && range.low >= -detail::f16_max
                        && range.low <= detail::f16_max && step <= detail::f16_max;
  scale_min[0] = on.scale16;
  scale_min[1] = on.low16;
  write_integers(d, g, on, q, carry, sums);
}

/// Packs a group's integers of 2, 3 or 4 bits (page_layout.hpp).
HWY_INLINE void pack_bits(const std::uint8_t* q, std::size_t size, std::uint32_t bits,
                          std::uint8_t* out) {
  if (bits == 4) {
    for (std::size_t i = 0; i < size / 2; ++i)
      out[i] = static_cast<std::uint8_t>(q[i] | q[size / 2 + i] << 4);
    return;
  }
  const auto run = size / 4;
  for (std::size_t i = 0; i < run; ++i)
    out[i] = static_cast<std::uint8_t>((q[i] & 3) | (q[run + i] & 3) << 2
                                       | (q[2 * run + i] & 3) << 4 | (q[3 * run + i] & 3) << 6);
  if (bits == 2)
    return;
  std::memset(out + run, 0, size / 8);
  for (std::size_t i = 0; i < size; ++i) {
    auto& byte = out[run + i % (size / 8)];
    byte = static_cast<std::uint8_t>(byte | (q[i] >> 2) << (i / (size / 8)));
  }
}

/// Quantises the group `x[0...n)` and writes it with `bits` per value; `x[n...size)` is
/// overwritten. `carry`: as in write_integers, `size` values.
HWY_INLINE void encode_group(float* x, std::size_t n, std::size_t size, std::uint32_t bits,
                             std::byte* out, std::uint16_t* scale_min, float* carry,
                             quality& sums) {
  std::uint8_t q[64];
  std::fill(x + n, x + size, x[0]);
  const value_group g{x, n, size, static_cast<float>((1U << bits) - 1)};
  if (size == 8)
    quantise_group(hn::CappedTag<float, 8>(), g, q, scale_min, carry, sums);
  else
    quantise_group(full_f32(), g, q, scale_min, carry, sums);
  auto* bytes = reinterpret_cast<std::uint8_t*>(out);
  if (bits == 8)
    std::memcpy(bytes, q, size);
  else
    pack_bits(q, size, bits, bytes);
}

} // namespace pikv::gpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
