// SPDX-License-Identifier: Apache-2.0
/// \file
/// The 8-bit float e4m3 of the OCP standard (no infinities, one NaN for each sign, largest value
/// 448), as bit patterns.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>

namespace pikv::gpu::detail {

inline constexpr float e4m3_max = 448.0F;

constexpr float f32_from_e4m3(std::uint8_t x) noexcept {
  const std::uint32_t sign = std::uint32_t{x & 0x80U} << 24;
  const std::uint32_t magnitude = x & 0x7FU;
  if (magnitude == 0x7FU)
    return std::bit_cast<float>(sign | 0x7FC00000U);
  // The exponent bias differs by 120; a multiplication rebases subnormals too.
  const float y = std::bit_cast<float>(magnitude << 20) * 0x1p120F;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(y));
}

/// Rounded to nearest, ties to even; beyond the largest value, the largest value.
constexpr std::uint8_t e4m3_from_f32(float x) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = bits >> 24 & 0x80U;
  std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U)
    return static_cast<std::uint8_t>(sign | 0x7FU);
  if (magnitude >= 0x43E00000U)
    return static_cast<std::uint8_t>(sign | 0x7EU);
  if (magnitude < 0x3C800000U) { // subnormal: the addition rounds at the last bit that is kept
    const float rounded = std::bit_cast<float>(magnitude) + 16384.0F;
    return static_cast<std::uint8_t>(sign | (std::bit_cast<std::uint32_t>(rounded) - 0x46800000U));
  }
  magnitude += 0x7FFFFU + (magnitude >> 20 & 1U);
  return static_cast<std::uint8_t>(sign | ((magnitude >> 20) - 960U));
}

/// Every pattern's value.
inline constexpr std::array<float, 256> e4m3_values = [] {
  std::array<float, 256> x{};
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = f32_from_e4m3(static_cast<std::uint8_t>(i));
  return x;
}();

/// The scale under which values up to `largest` in magnitude fit. A scale below the normal floats
/// has no finite inverse, so the smallest normal stands in for it.
constexpr float e4m3_scale(float largest) noexcept {
  return largest > 0 ? std::max(largest / e4m3_max, std::numeric_limits<float>::min()) : 1.0F;
}

} // namespace pikv::gpu::detail
