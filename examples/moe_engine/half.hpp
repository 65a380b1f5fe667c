// SPDX-License-Identifier: Apache-2.0
/// \file
/// IEEE binary16 in integer arithmetic, for processors without an instruction for it: subnormals,
/// infinities and NaN included, rounding to nearest even. Method: F. Giesen, "Half to float done
/// quick" and "float_to_half_fast3_rtne" (public domain).
#pragma once

#include <bit>
#include <cstdint>

namespace pikv::moe_engine {

constexpr float half_to_float(std::uint16_t half) noexcept {
  constexpr float rebias = 0x1p112F; // 2^(127 - 15)
  const auto magnitude = std::uint32_t{half & 0x7FFFU} << 13;
  auto bits = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) * rebias);
  if ((half & 0x7C00U) == 0x7C00U)
    bits |= 0x7F800000U;
  return std::bit_cast<float>(bits | std::uint32_t{half & 0x8000U} << 16);
}

constexpr std::uint16_t float_to_half(float x) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto sign = (bits >> 16) & 0x8000U;
  const auto magnitude = bits & 0x7FFFFFFFU;
  std::uint32_t half = 0;
  if (magnitude > 0x7F800000U) // NaN
    half = 0x7E00U;
  else if (magnitude >= 0x47800000U) // 65536 and more
    half = 0x7C00U;
  else if (magnitude < 0x38800000U) // below 2^-14: adding 0.5 rounds to the subnormals' spacing
    half = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - 0x3F000000U;
  else // exponent to the new bias, half a unit in the last place, ties to even
    half = (magnitude - 0x38000000U + 0xFFFU + ((magnitude >> 13) & 1U)) >> 13;
  return static_cast<std::uint16_t>(sign | half);
}

} // namespace pikv::moe_engine
