// SPDX-License-Identifier: Apache-2.0
/// \file
/// The arithmetic of the study store's attention, vectorised. Pure; on the calling thread.
#pragma once

#include <cstddef>
#include <span>

namespace pikv::tools {

/// Columns of one panel of a right-hand matrix.
inline constexpr std::size_t panel_columns = 32;

/// C `[rows, panels * 32]` = A `[rows, depth]` * B, B as panels `[panels, depth, 32]` that begin
/// `panel_stride` floats apart; added to C when `accumulate`. Strides in floats.
void multiply(const float* a, std::size_t rows, std::size_t a_stride, const float* b,
              std::size_t panels, std::size_t panel_stride, std::size_t depth, float* c,
              std::size_t c_stride, bool accumulate);

struct softmax_sum {
  float top = 0; ///< largest logit
  float sum = 0; ///< of 2^(logit - top)
};

/// Turns logits in powers of 2 into 2^(logit - top); -inf becomes 0. At least one is finite.
softmax_sum exponentials(std::span<float> logits) noexcept;

} // namespace pikv::tools
