// SPDX-License-Identifier: Apache-2.0
// Vector loads and stores of the element types, and the exponential. Compiled once per target.
#if defined(PIKV_GPU_HOST_SIMD_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef PIKV_GPU_HOST_SIMD_INL
#undef PIKV_GPU_HOST_SIMD_INL
#else
#define PIKV_GPU_HOST_SIMD_INL
#endif

#include <cstddef>
#include <cstdint>

#include <hwy/highway.h>

#define PIKV_UNROLL _Pragma("GCC unroll 16")

HWY_BEFORE_NAMESPACE();
namespace pikv::gpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using f16 = hwy::float16_t;
using bf16 = hwy::bfloat16_t;

/// The full vector of f32, at most 16 lanes.
using full_f32 = hn::CappedTag<float, 16>;
inline constexpr std::size_t full_lanes = HWY_MIN(HWY_LANES(float), 16);

/// Vectors of `D::lanes` f32 from memory in any element type; `p` need not be aligned.
template <class D>
HWY_INLINE hn::Vec<D> load_f32(D d, const float* p) {
  return hn::LoadU(d, p);
}
template <class D>
HWY_INLINE hn::Vec<D> load_f32(D d, const f16* p) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<f16, D>(), p));
}
template <class D>
HWY_INLINE hn::Vec<D> load_f32(D d, const bf16* p) {
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<std::uint16_t, D> du16;
  const auto bits = hn::PromoteTo(du, hn::LoadU(du16, reinterpret_cast<const std::uint16_t*>(p)));
  return hn::BitCast(d, hn::ShiftLeft<16>(bits));
}
template <class D>
HWY_INLINE hn::Vec<D> load_f32(D d, const std::uint8_t* p) {
  const hn::RebindToSigned<D> di;
  return hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(hn::Rebind<std::uint8_t, D>(), p)));
}

/// Stores the low 16 bits of each lane.
template <class D, class V>
HWY_INLINE void store_low16(D /*d*/, V bits, std::uint16_t* p) {
  const hn::RebindToSigned<D> di;
  const hn::Rebind<std::uint16_t, D> du16;
  hn::StoreU(hn::DemoteTo(du16, hn::BitCast(di, bits)), du16, p);
}

template <class D>
HWY_INLINE void store_f32(D d, hn::Vec<D> x, float* p) {
  hn::StoreU(x, d, p);
}
template <class D>
HWY_INLINE void store_f32(D d, hn::Vec<D> x, bf16* p) {
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::BitCast(du, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(hn::Add(bits, odd), hn::Set(du, 0x7FFF)));
  const auto quiet = hn::ShiftRight<16>(hn::Or(bits, hn::Set(du, 0x400000)));
  const auto nan = hn::RebindMask(du, hn::IsNaN(x));
  store_low16(d, hn::IfThenElse(nan, quiet, rounded), reinterpret_cast<std::uint16_t*>(p));
}
template <class D>
HWY_INLINE void store_f32([[maybe_unused]] D d, hn::Vec<D> x, f16* p) {
#if HWY_TARGET <= HWY_AVX2 || HWY_TARGET == HWY_NEON
  const hn::Rebind<f16, D> dh;
  hn::StoreU(hn::DemoteTo(dh, x), dh, p);
#else
  // Without conversion instructions Highway truncates. The same arithmetic as f16_from_f32.
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::BitCast(du, x);
  const auto sign = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 0x8000));
  const auto magnitude = hn::And(bits, hn::Set(du, 0x7FFFFFFF));
  const auto odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(du, 1));
  const auto rounded = hn::Add(hn::Add(magnitude, odd), hn::Set(du, 0xFFF));
  auto h = hn::ShiftRight<13>(hn::Sub(rounded, hn::Set(du, 0x38000000)));
  const auto tiny = hn::Add(hn::BitCast(d, magnitude), hn::Set(d, 0.5F));
  const auto is_tiny = hn::Lt(hn::BitCast(d, magnitude), hn::Set(d, 0x1p-14F));
  h = hn::IfThenElse(hn::RebindMask(du, is_tiny),
                     hn::Sub(hn::BitCast(du, tiny), hn::Set(du, 0x3F000000)), h);
  const auto is_big = hn::Ge(hn::BitCast(d, magnitude), hn::Set(d, 65520.0F));
  h = hn::IfThenElse(hn::RebindMask(du, is_big), hn::Set(du, 0x7C00), h);
  h = hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(x)), hn::Set(du, 0x7E00), h);
  store_low16(d, hn::Or(h, sign), reinterpret_cast<std::uint16_t*>(p));
#endif
}

/// 2^x for x <= 120, relative error below 2e-7. Below -125 the result stays at about 2^-125: never
/// a subnormal, and far below what a sum of exponentials with a term near 1 can see.
/// Coefficients: minimax for 2^f on [-1/2, 1/2].
template <class D>
HWY_INLINE hn::Vec<D> exp2_f32(D d, hn::Vec<D> x) {
  const hn::RebindToUnsigned<D> du;
  x = hn::Max(x, hn::Set(d, -125.0F));
  const auto magic = hn::Set(d, 12582912.0F); // 1.5 * 2^23: the sum's low bits are round(x)
  const auto shifted = hn::Add(x, magic);
  const auto f = hn::Sub(x, hn::Sub(shifted, magic));
  auto y = hn::MulAdd(hn::Set(d, 1.32764725e-3F), f, hn::Set(d, 9.67554096e-3F));
  y = hn::MulAdd(y, f, hn::Set(d, 5.55071309e-2F));
  y = hn::MulAdd(y, f, hn::Set(d, 2.40221202e-1F));
  y = hn::MulAdd(y, f, hn::Set(d, 6.93146944e-1F));
  y = hn::MulAdd(y, f, hn::Set(d, 1.0F));
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(du, shifted));
  return hn::BitCast(d, hn::Add(hn::BitCast(du, y), exponent));
}

} // namespace pikv::gpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
