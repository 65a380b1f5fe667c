// SPDX-License-Identifier: Apache-2.0
/// \file
/// Gate logits of the rows of a batch, where they are known: f32 `[rows, experts]`, then a byte for
/// each row, in memory that the host and a device reach.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <pikv/gpu/device.hpp>

namespace pikv {

struct known_gates {
  gpu::block block; ///< empty: no row's gate is known
  std::uint32_t rows = 0;
  std::uint32_t experts = 0;

  static std::size_t bytes(std::uint32_t rows, std::uint32_t experts) noexcept {
    return std::size_t{rows} * (experts * sizeof(float) + 1);
  }

  float* logits() const noexcept { return reinterpret_cast<float*>(block.data()); }
  std::uint8_t* known() const noexcept {
    return block ? reinterpret_cast<std::uint8_t*>(logits() + std::size_t{rows} * experts)
                 : nullptr;
  }

  /// Empty where it is not known.
  std::span<const float> of(std::uint32_t row) const noexcept {
    if (!block || known()[row] == 0)
      return {};
    return {logits() + std::size_t{row} * experts, experts};
  }
};

} // namespace pikv
