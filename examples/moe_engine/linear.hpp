// SPDX-License-Identifier: Apache-2.0
/// \file
/// Weight matrices and their products with rows of activations, in f32.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace pikv::moe_engine {

/// W `[n, k]`, packed for products with its transpose: panels of 32 outputs, `[n/32, k, 32]`, the
/// last one filled up with zeros. Immutable; any thread may read.
class packed_matrix {
public:
  static constexpr std::size_t panel_width = 32;

  packed_matrix() = default;
  /// `w` is `[n, k]`, dense.
  packed_matrix(std::span<const float> w, std::size_t n, std::size_t k);

  std::size_t outputs() const noexcept { return n_; }
  std::size_t inputs() const noexcept { return k_; }
  std::size_t panels() const noexcept { return (n_ + panel_width - 1) / panel_width; }
  const float* panel(std::size_t i) const noexcept { return data_.data() + i * k_ * panel_width; }

private:
  std::size_t n_ = 0;
  std::size_t k_ = 0;
  std::vector<float> data_;
};

/// y `[rows, n]` = x `[rows, k]` * W^T on the calling thread. y is dense; rows of x are `x_stride`
/// elements apart (0: dense).
void multiply(const packed_matrix& w, const float* x, std::size_t rows, float* y,
              std::size_t x_stride = 0);

} // namespace pikv::moe_engine
