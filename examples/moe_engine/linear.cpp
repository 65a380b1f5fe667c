// SPDX-License-Identifier: Apache-2.0
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "moe_engine/linear.cpp"
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include <moe_engine/gemm_tile-inl.hpp>
#include <moe_engine/linear.hpp>

HWY_BEFORE_NAMESPACE();
namespace pikv::moe_engine::HWY_NAMESPACE {

void multiply_rows(const packed_matrix& w, const float* x, std::size_t x_stride, std::size_t rows,
                   float* y) {
  // Panels outside, rows inside: a panel (k x 32 floats) stays in the nearest cache for all rows.
  const auto n = w.outputs();
  const auto k = w.inputs();
  for (std::size_t p = 0; p < w.panels(); ++p) {
    const auto first = p * panel_width;
    if (first + panel_width <= n) {
      panel_product(rows, x, x_stride, w.panel(p), k, y + first, n, false);
      continue;
    }
    // The last panel is wider than what is left of y's rows.
    for (std::size_t r = 0; r < rows; r += tile_rows) {
      alignas(64) float scratch[tile_rows * panel_width];
      const auto count = rows - r < tile_rows ? rows - r : tile_rows;
      panel_product(count, x + r * x_stride, x_stride, w.panel(p), k, scratch, panel_width, false);
      for (std::size_t i = 0; i < count; ++i)
        for (std::size_t j = first; j < n; ++j)
          y[(r + i) * n + j] = scratch[i * panel_width + j - first];
    }
  }
}

} // namespace pikv::moe_engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pikv::moe_engine {

HWY_EXPORT(multiply_rows);

packed_matrix::packed_matrix(std::span<const float> w, std::size_t n, std::size_t k)
    : n_(n), k_(k), data_((n + panel_width - 1) / panel_width * panel_width * k) {
  for (std::size_t row = 0; row < n; ++row) {
    float* to = data_.data() + row / panel_width * panel_width * k + row % panel_width;
    for (std::size_t i = 0; i < k; ++i)
      to[i * panel_width] = w[row * k + i];
  }
}

void multiply(const packed_matrix& w, const float* x, std::size_t rows, float* y,
              std::size_t x_stride) {
  HWY_DYNAMIC_DISPATCH(multiply_rows)(w, x, x_stride == 0 ? w.inputs() : x_stride, rows, y);
}

} // namespace pikv::moe_engine
#endif
