// SPDX-License-Identifier: Apache-2.0
/// \file
/// A buffer as an engine would own it, `[rows, heads, dim]` in any element type, layout and
/// strides. What lies between the elements is NaN on the way in and must stay as it is on the way
/// out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include <pikv/actors/tensor.hpp>
#include <pikv/gpu/host/half.hpp>

namespace pikv::test {

class engine_buffer {
public:
  engine_buffer() = default;

  /// Dense when both paddings are 0. Paddings are in elements, behind each inner and outer run.
  engine_buffer(dtype type, layout order, std::uint32_t rows, std::uint32_t heads,
                std::uint32_t dim, std::uint32_t inner_padding = 0, std::uint32_t outer_padding = 0)
      : type_(type), order_(order), rows_(rows), heads_(heads), dim_(dim) {
    const bool nhd = order == layout::nhd;
    const std::uint64_t inner = std::uint64_t{dim} + inner_padding;
    const std::uint64_t outer = inner * (nhd ? heads : rows) + outer_padding;
    row_stride_ = nhd ? outer : inner;
    head_stride_ = nhd ? inner : outer;
    bytes_.assign(outer * (nhd ? rows : heads) * size_of(type), std::byte{0xFF});
    named_ = inner_padding + outer_padding > 0;
  }

  std::uint32_t rows() const noexcept { return rows_; }
  dtype type() const noexcept { return type_; }
  const std::vector<std::byte>& bytes() const noexcept { return bytes_; }

  void set(std::size_t row, std::size_t head, std::size_t c, float x) {
    auto* p = bytes_.data() + at(row, head, c) * size_of(type_);
    if (type_ == dtype::f32) {
      std::memcpy(p, &x, sizeof x);
      return;
    }
    const std::uint16_t h =
        type_ == dtype::f16 ? gpu::detail::f16_from_f32(x) : gpu::detail::bf16_from_f32(x);
    std::memcpy(p, &h, sizeof h);
  }

  float get(std::size_t row, std::size_t head, std::size_t c) const {
    const auto* p = bytes_.data() + at(row, head, c) * size_of(type_);
    if (type_ == dtype::f32) {
      float x;
      std::memcpy(&x, p, sizeof x);
      return x;
    }
    std::uint16_t h;
    std::memcpy(&h, p, sizeof h);
    return type_ == dtype::f16 ? gpu::detail::f32_from_f16(h) : gpu::detail::f32_from_bf16(h);
  }

  void fill_normal(std::mt19937_64& rng, float sigma) {
    std::normal_distribution<float> normal(0, sigma);
    for (std::size_t r = 0; r < rows_; ++r)
      for (std::size_t h = 0; h < heads_; ++h)
        for (std::size_t c = 0; c < dim_; ++c)
          set(r, h, c, normal(rng));
  }

  /// True when nothing but elements was written.
  bool padding_untouched() const {
    std::vector<bool> element(bytes_.size() / size_of(type_));
    for (std::size_t r = 0; r < rows_; ++r)
      for (std::size_t h = 0; h < heads_; ++h)
        for (std::size_t c = 0; c < dim_; ++c)
          element[at(r, h, c)] = true;
    for (std::size_t i = 0; i < bytes_.size(); ++i)
      if (!element[i / size_of(type_)] && bytes_[i] != std::byte{0xFF})
        return false;
    return true;
  }

  const_tensor in() const noexcept {
    return {bytes_.data(),      bytes_.size(),      type_, order_, rows_, heads_, dim_,
            named(row_stride_), named(head_stride_)};
  }
  tensor out() noexcept {
    return {bytes_.data(),      bytes_.size(),      type_, order_, rows_, heads_, dim_,
            named(row_stride_), named(head_stride_)};
  }

private:
  /// Dense buffers leave the strides to be worked out.
  std::uint64_t named(std::uint64_t stride) const noexcept { return named_ ? stride : 0; }
  std::size_t at(std::size_t row, std::size_t head, std::size_t c) const noexcept {
    return row * row_stride_ + head * head_stride_ + c;
  }

  dtype type_ = dtype::f32;
  layout order_ = layout::nhd;
  std::uint32_t rows_ = 0, heads_ = 0, dim_ = 0;
  std::uint64_t row_stride_ = 0, head_stride_ = 0;
  bool named_ = false;
  std::vector<std::byte> bytes_;
};

/// A buffer of random element type, layout and padding.
inline engine_buffer random_buffer(std::mt19937_64& rng, std::uint32_t rows, std::uint32_t heads,
                                   std::uint32_t dim) {
  const auto pick = [&rng](std::uint32_t n) { return static_cast<std::uint32_t>(rng() % n); };
  const auto type = static_cast<dtype>(pick(3));
  const auto order = static_cast<layout>(pick(2));
  return pick(2) == 0 ? engine_buffer{type, order, rows, heads, dim}
                      : engine_buffer{type, order, rows, heads, dim, pick(9), pick(20)};
}

} // namespace pikv::test
