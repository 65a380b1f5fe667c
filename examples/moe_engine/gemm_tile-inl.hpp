// SPDX-License-Identifier: Apache-2.0
/// \file
/// The matrix product that the engine spends its time in, compiled once for each instruction set:
/// C `[rows, 32]` = A `[rows, k]` * B `[k, 32]`, f32. Include after hwy/foreach_target.h.
///
/// Method: a register tile of up to 12 rows x 2 vectors (6 rows where there are 16 registers), as
/// in Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 2008.
#if defined(MOE_ENGINE_GEMM_TILE_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef MOE_ENGINE_GEMM_TILE_INL_HPP
#undef MOE_ENGINE_GEMM_TILE_INL_HPP
#else
#define MOE_ENGINE_GEMM_TILE_INL_HPP
#endif

#include <cstddef>

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace pikv::moe_engine::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using f32_tag = hn::CappedTag<float, 16>;
inline constexpr std::size_t panel_width = 32;
inline constexpr std::size_t tile_rows = HWY_TARGET <= HWY_AVX3 ? 12 : 6;

/// `Rows` x (2 vectors) of the product. B's rows are `panel_width` apart. All loops over `Rows`
/// unroll, so that the sums stay in registers.
template <std::size_t Rows>
HWY_INLINE void register_tile(const float* HWY_RESTRICT a, std::size_t a_stride,
                              const float* HWY_RESTRICT b, std::size_t k, float* HWY_RESTRICT c,
                              std::size_t c_stride, bool accumulate) {
  const f32_tag d;
  const auto lanes = hn::Lanes(d);
  hn::Vec<f32_tag> left[Rows];
  hn::Vec<f32_tag> right[Rows];
#pragma GCC unroll 16
  for (std::size_t r = 0; r < Rows; ++r)
    left[r] = right[r] = hn::Zero(d);
  for (std::size_t i = 0; i < k; ++i) {
    const auto b0 = hn::LoadU(d, b + i * panel_width);
    const auto b1 = hn::LoadU(d, b + i * panel_width + lanes);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < Rows; ++r) {
      const auto x = hn::Set(d, a[r * a_stride + i]);
      left[r] = hn::MulAdd(x, b0, left[r]);
      right[r] = hn::MulAdd(x, b1, right[r]);
    }
  }
#pragma GCC unroll 16
  for (std::size_t r = 0; r < Rows; ++r) {
    float* row = c + r * c_stride;
    if (accumulate) {
      left[r] = hn::Add(left[r], hn::LoadU(d, row));
      right[r] = hn::Add(right[r], hn::LoadU(d, row + lanes));
    }
    hn::StoreU(left[r], d, row);
    hn::StoreU(right[r], d, row + lanes);
  }
}

/// All 32 columns for `Rows` rows, or for fewer: the recursion picks the instance that fits.
template <std::size_t Rows>
HWY_INLINE void rows_tile(std::size_t rows, const float* a, std::size_t a_stride, const float* b,
                          std::size_t k, float* c, std::size_t c_stride, bool accumulate) {
  if (rows == Rows) {
    const std::size_t step = 2 * hn::Lanes(f32_tag{});
    for (std::size_t column = 0; column < panel_width; column += step)
      register_tile<Rows>(a, a_stride, b + column, k, c + column, c_stride, accumulate);
  } else if constexpr (Rows > 1) {
    rows_tile<Rows - 1>(rows, a, a_stride, b, k, c, c_stride, accumulate);
  }
}

/// C `[rows, 32]` = A `[rows, k]` * B `[k, 32]`, added to C when `accumulate`. Strides in elements.
/// B is dense; C must have room for all 32 columns.
HWY_INLINE void panel_product(std::size_t rows, const float* a, std::size_t a_stride,
                              const float* b, std::size_t k, float* c, std::size_t c_stride,
                              bool accumulate) {
  for (std::size_t r = 0; r < rows; r += tile_rows) {
    const auto n = rows - r < tile_rows ? rows - r : tile_rows;
    rows_tile<tile_rows>(n, a + r * a_stride, a_stride, b, k, c + r * c_stride, c_stride,
                         accumulate);
  }
}

} // namespace pikv::moe_engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
