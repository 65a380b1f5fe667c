// SPDX-License-Identifier: Apache-2.0
/// \file
/// 2^x for softmaxes, compiled once for each instruction set. Include after hwy/foreach_target.h.
#if defined(MOE_ENGINE_FAST_EXP_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef MOE_ENGINE_FAST_EXP_INL_HPP
#undef MOE_ENGINE_FAST_EXP_INL_HPP
#else
#define MOE_ENGINE_FAST_EXP_INL_HPP
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace pikv::moe_engine::HWY_NAMESPACE {

inline constexpr float log2_e = 1.4426950408889634F;
inline constexpr float ln_2 = 0.6931471805599453F;

/// 2^x for x <= 126, relative error below 3e-7; what is below -126 counts as -126. The polynomial
/// is that of exp2f in the Cephes library (Moshier).
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V exp2_fast(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToSigned<D> di;
  x = hn::Max(x, hn::Set(d, -126.0F));
  const auto whole = hn::NearestInt(x);
  const auto f = hn::Sub(x, hn::ConvertTo(d, whole));
  auto p = hn::MulAdd(hn::Set(d, 1.535336188319500E-4F), f, hn::Set(d, 1.339887440266574E-3F));
  p = hn::MulAdd(p, f, hn::Set(d, 9.618437357674640E-3F));
  p = hn::MulAdd(p, f, hn::Set(d, 5.550332471162809E-2F));
  p = hn::MulAdd(p, f, hn::Set(d, 2.402264791363012E-1F));
  p = hn::MulAdd(p, f, hn::Set(d, 6.931472028550421E-1F));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0F));
  const auto exponent = hn::ShiftLeft<23>(hn::Add(whole, hn::Set(di, 127)));
  return hn::Mul(p, hn::BitCast(d, exponent));
}

} // namespace pikv::moe_engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
