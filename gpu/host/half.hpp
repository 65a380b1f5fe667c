// SPDX-License-Identifier: Apache-2.0
/// \file
/// Scalar conversions between f32 and the two 16-bit float formats, as bit patterns. Rounding is to
/// nearest, ties to even, unless the name says otherwise.
#pragma once

#include <bit>
#include <cstdint>

namespace pikv::gpu::detail {

inline constexpr float f16_max = 65504.0F;

constexpr float f32_from_f16(std::uint16_t h) noexcept {
  const std::uint32_t sign = std::uint32_t{h & 0x8000U} << 16;
  const std::uint32_t magnitude = h & 0x7FFFU;
  if (magnitude >= 0x7C00U) // infinity and NaN
    return std::bit_cast<float>(sign | 0x7F800000U | (magnitude & 0x3FFU) << 13);
  // The exponent bias differs by 112; a multiplication rebases subnormals too.
  const float x = std::bit_cast<float>(magnitude << 13) * 0x1p112F;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(x));
}

constexpr std::uint16_t f16_from_f32(float x) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = bits >> 16 & 0x8000U;
  std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U)
    return static_cast<std::uint16_t>(sign | 0x7E00U);
  if (magnitude >= 0x477FF000U) // rounds beyond the largest finite value
    return static_cast<std::uint16_t>(sign | 0x7C00U);
  if (magnitude < 0x38800000U) { // subnormal: the addition rounds at the last bit that is kept
    const float rounded = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(rounded) - 0x3F000000U));
  }
  magnitude += 0xFFFU + (magnitude >> 13 & 1U);
  return static_cast<std::uint16_t>(sign | (magnitude - 0x38000000U) >> 13);
}

/// The largest finite f16 <= x, or the lowest finite f16.
constexpr std::uint16_t f16_below(float x) noexcept {
  if (x <= -f16_max)
    return 0xFBFFU;
  if (x >= f16_max)
    return 0x7BFFU;
  // Without branches on the data: which way a value was rounded is a coin toss.
  const std::uint32_t h = f16_from_f32(x);
  const std::uint32_t over = f32_from_f16(static_cast<std::uint16_t>(h)) > x ? 1 : 0;
  return static_cast<std::uint16_t>(h + 2 * over * (h >> 15) - over);
}

/// The smallest finite f16 >= x, or the largest finite f16.
constexpr std::uint16_t f16_above(float x) noexcept {
  return static_cast<std::uint16_t>(f16_below(-x) ^ 0x8000U);
}

constexpr float f32_from_bf16(std::uint16_t h) noexcept {
  return std::bit_cast<float>(std::uint32_t{h} << 16);
}

constexpr std::uint16_t bf16_from_f32(float x) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U)
    return static_cast<std::uint16_t>(bits >> 16 | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

} // namespace pikv::gpu::detail
