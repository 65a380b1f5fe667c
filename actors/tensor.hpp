// SPDX-License-Identifier: Apache-2.0
/// \file
/// How an engine describes its buffers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <pikv/messages/types.hpp>

namespace pikv {

/// A buffer of `rows x heads x dim` elements that PiKV reads. `dim` is always contiguous. Strides
/// are in elements; 0 means dense in the given layout. `bytes` is the size of the memory at `data`,
/// so that a wrong shape is refused instead of read.
struct const_tensor {
  const void* data = nullptr;
  std::size_t bytes = 0;
  dtype type = dtype::f32;
  layout order = layout::nhd;
  std::uint32_t rows = 0;
  std::uint32_t heads = 0;
  std::uint32_t dim = 0;
  std::uint64_t row_stride = 0;
  std::uint64_t head_stride = 0;
};

/// The same for a buffer that PiKV writes.
struct tensor {
  void* data = nullptr;
  std::size_t bytes = 0;
  dtype type = dtype::f32;
  layout order = layout::nhd;
  std::uint32_t rows = 0;
  std::uint32_t heads = 0;
  std::uint32_t dim = 0;
  std::uint64_t row_stride = 0;
  std::uint64_t head_stride = 0;
};

/// Dense f32 buffers in NHD order: `[rows, heads, dim]`.
inline const_tensor nhd(std::span<const float> x, std::uint32_t rows, std::uint32_t heads,
                        std::uint32_t dim) noexcept {
  return {x.data(), x.size_bytes(), dtype::f32, layout::nhd, rows, heads, dim, 0, 0};
}
inline tensor nhd(std::span<float> x, std::uint32_t rows, std::uint32_t heads,
                  std::uint32_t dim) noexcept {
  return {x.data(), x.size_bytes(), dtype::f32, layout::nhd, rows, heads, dim, 0, 0};
}

/// A vector as a buffer that PiKV writes (reads: as a const vector or span).
inline tensor nhd(std::vector<float>& x, std::uint32_t rows, std::uint32_t heads,
                  std::uint32_t dim) noexcept {
  return nhd(std::span<float>{x}, rows, heads, dim);
}
inline const_tensor nhd(const std::vector<float>& x, std::uint32_t rows, std::uint32_t heads,
                        std::uint32_t dim) noexcept {
  return nhd(std::span<const float>{x}, rows, heads, dim);
}

} // namespace pikv
