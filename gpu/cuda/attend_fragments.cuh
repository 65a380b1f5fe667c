// SPDX-License-Identifier: Apache-2.0
/// \file
/// Reads K and V of a tile from shared memory as operands of matrix products.
///
/// A tile is 64 tokens in 8 chunks of 8. Both products have the tile's values as their first
/// operand: S^T = K Q^T and O^T = V^T P^T. Which index of a fragment stands for which token or
/// channel is free as long as both operands agree, so each form takes the order in which a lane
/// finds its values together. With g = lane / 4 and t = lane % 4:
///
///   K: rows g and g + 8 of row tile m are values 2m and 2m + 1 of chunk g; a step is 16 channels,
///      of which the lane has four: 16s + 4i + t (16-bit forms) or 16s + 4t + i
///   V: step j is values 2j and 2j + 1 of every chunk, and the lane has chunks 2t and 2t + 1; rows
///      g and g + 8 of row tile m are two neighbouring channels of the lane's: half of them from
///      `first_channel(g)` on and half 16 further, as int4 packs them
#pragma once

#include <pikv/gpu/cuda/attend_shared.cuh>
#include <pikv/gpu/cuda/numeric.cuh>

namespace pikv::gpu::cuda {

template <form F>
struct form_traits {
  static constexpr bool raw = F == form::f16 || F == form::bf16;
  static constexpr bool bf16 = F == form::bf16;
  static constexpr bool affine = F == form::int8 || F == form::int4;
  static constexpr bool fp8 = F == form::fp8;
  static constexpr int bits = raw ? 16 : F == form::int4 ? 4 : 8;
};

/// Bytes i of two words as four bytes (a0, b0, a1, b1) or (a2, b2, a3, b3).
__device__ __forceinline__ std::uint32_t interleave_low(std::uint32_t a, std::uint32_t b) {
  return __byte_perm(a, b, 0x5140);
}
__device__ __forceinline__ std::uint32_t interleave_high(std::uint32_t a, std::uint32_t b) {
  return __byte_perm(a, b, 0x7362);
}
__device__ __forceinline__ std::uint32_t low_halves(std::uint32_t a, std::uint32_t b) {
  return __byte_perm(a, b, 0x5410);
}
__device__ __forceinline__ std::uint32_t high_halves(std::uint32_t a, std::uint32_t b) {
  return __byte_perm(a, b, 0x7632);
}

/// Values i of the words a and b as packed pairs (a_i, b_i). 16-bit: 2 pairs, 8-bit: 4, int4: 8,
/// the low nibbles' pairs first.
template <form F>
__device__ __forceinline__ void pair_values(std::uint32_t a, std::uint32_t b,
                                            std::uint32_t (&x)[32 / form_traits<F>::bits]) {
  if constexpr (form_traits<F>::raw) {
    x[0] = low_halves(a, b);
    x[1] = high_halves(a, b);
  } else if constexpr (F == form::int4) {
    const std::uint32_t low = low_halves(a, b);
    const std::uint32_t high = high_halves(a, b);
    x[0] = f16x2_from_low_nibbles(low);
    x[1] = f16x2_from_low_nibbles(low >> 8);
    x[2] = f16x2_from_low_nibbles(high);
    x[3] = f16x2_from_low_nibbles(high >> 8);
    x[4] = f16x2_from_high_nibbles(low);
    x[5] = f16x2_from_high_nibbles(low >> 8);
    x[6] = f16x2_from_high_nibbles(high);
    x[7] = f16x2_from_high_nibbles(high >> 8);
  } else {
    const std::uint32_t low = interleave_low(a, b);
    const std::uint32_t high = interleave_high(a, b);
    if constexpr (F == form::fp8) {
      x[0] = f16x2_from_e4m3x2(low);
      x[1] = f16x2_from_e4m3x2(low >> 16);
      x[2] = f16x2_from_e4m3x2(high);
      x[3] = f16x2_from_e4m3x2(high >> 16);
    } else {
      x[0] = f16x2_from_bytes<0x4140>(low);
      x[1] = f16x2_from_bytes<0x4342>(low);
      x[2] = f16x2_from_bytes<0x4140>(high);
      x[3] = f16x2_from_bytes<0x4342>(high);
    }
  }
}

/// The slot within its page of value `i` of chunk `chunk` (of the page).
template <form F, int PageTokens>
__device__ __forceinline__ std::uint32_t slot_of(std::uint32_t chunk, std::uint32_t i) {
  if constexpr (F != form::int4) {
    return chunk * 8 + i;
  } else {
    constexpr std::uint32_t group = PageTokens < 32 ? PageTokens : 32; // values that are packed
    const std::uint32_t in_group = chunk % (group / 8) * 4 + i % 4 + i / 4 * (group / 2);
    return chunk / (group / 8) * group + in_group;
  }
}

/// The channel of K at place (step, i) of lane t's four.
template <form F>
__device__ __forceinline__ std::uint32_t k_channel(std::uint32_t step, std::uint32_t t,
                                                   std::uint32_t i) {
  return form_traits<F>::raw ? 16 * step + 4 * i + t : 16 * step + 4 * t + i;
}

/// First of lane group g's channels of V; each lane has head_dim / 16 from here and from 16 on.
template <int HeadDim>
__device__ __forceinline__ std::uint32_t first_channel(std::uint32_t g) {
  const std::uint32_t x = g * (HeadDim / 16);
  return x / 16 * 32 + x % 16;
}

/// K of one tile, seen by one lane.
template <form F, int HeadDim, int PageTokens>
class k_tile {
public:
  /// `head`: shared address of the head's part of the page that has chunk g; `chunk`: in the page.
  __device__ k_tile(std::uint32_t head, const attend_form_layout& layout, std::uint32_t chunk) {
    const std::uint32_t t = threadIdx.x % 4;
    const std::uint32_t group = chunk / (k_group / 8);
    const std::uint32_t row = k_channel<F>(0, t, 0) * row_bytes;
    if constexpr (F == form::int4)
      values_ = head + row + group * (k_group / 2) + chunk % (k_group / 8) * 4;
    else
      values_ = head + row + chunk * (traits::bits);
    scales_ = head + layout.k_scale_offset + (4 * t * groups + group) * 4;
  }

  /// First operands of the four row tiles for 16 channels.
  __device__ void load(int step, std::uint32_t (&a)[4][4]) const {
    std::uint32_t w[4][words];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      load_shared(values_ + k_channel<F>(step, 0, i) * row_bytes, w[i]);
    constexpr int pairs = 32 / traits::bits;
    std::uint32_t x[2][words * pairs];
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int j = 0; j < words; ++j) {
        std::uint32_t y[pairs];
        pair_values<F>(w[2 * half][j], w[2 * half + 1][j], y);
#pragma unroll
        for (int i = 0; i < pairs; ++i)
          x[half][j * pairs + i] = y[i];
      }
    if constexpr (traits::affine)
      apply_scales(step, x);
#pragma unroll
    for (int m = 0; m < 4; ++m)
#pragma unroll
      for (int r = 0; r < 4; ++r)
        a[m][r] = x[r / 2][2 * m + r % 2];
  }

private:
  using traits = form_traits<F>;
  static constexpr std::uint32_t row_bytes = PageTokens * traits::bits / 8;
  static constexpr std::uint32_t k_group = PageTokens < 32 ? PageTokens : 32;
  static constexpr std::uint32_t groups = PageTokens / k_group;
  static constexpr int words = traits::bits / 4; ///< of 8 values

  __device__ void apply_scales(int step, std::uint32_t (&x)[2][8]) const {
    std::uint32_t s[4]; // (scale, min) of each channel
    if constexpr (groups == 1) {
      load_shared(scales_ + 16 * step * 4, s);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        s[i] = load_shared_u32(scales_ + (16 * step + i) * groups * 4);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::uint32_t scale = low_halves(s[2 * half], s[2 * half + 1]);
      const std::uint32_t min = high_halves(s[2 * half], s[2 * half + 1]);
#pragma unroll
      for (int i = 0; i < 8; ++i)
        x[half][i] = affine(x[half][i], scale, min);
    }
  }

  std::uint32_t values_;
  std::uint32_t scales_;
};

/// V of one tile, seen by one lane: of two chunks, 2t (a) and 2t + 1 (b).
template <form F, int HeadDim, int PageTokens>
class v_tile {
public:
  static constexpr int row_tiles = HeadDim / 16;

  __device__ v_tile(std::uint32_t head_a, std::uint32_t head_b, const attend_form_layout& layout)
      : chunk_(threadIdx.x % 4 * 2 % chunks) {
    const std::uint32_t first = first_channel<HeadDim>(threadIdx.x % 32 / 4);
    const std::uint32_t group = first / 32;
    const std::uint32_t at =
        layout.v_offset + (F == form::int4 ? group * 16 + first % 32 : first * traits::bits / 8);
    a_ = head_a + at;
    b_ = head_b + at;
    a_scale_ = head_a + layout.v_scale_offset + group * 4;
    b_scale_ = head_b + layout.v_scale_offset + group * 4;
  }

  /// Values i of both chunks in every row tile: x[m][0] for row g, x[m][1] for row g + 8.
  __device__ void load(int i, std::uint32_t (&x)[row_tiles][2]) const {
    const std::uint32_t a = slot_of<F, PageTokens>(chunk_, i);
    const std::uint32_t b = slot_of<F, PageTokens>(chunks == 1 ? 0 : chunk_ + 1, i);
    constexpr int halves = F == form::int4 ? 1 : 2; // int4: one word has values of both
#pragma unroll
    for (int half = 0; half < halves; ++half) {
      std::uint32_t wa[words], wb[words];
      load_values(a_ + a * row_bytes + half * half_distance, wa);
      load_values(b_ + b * row_bytes + half * half_distance, wb);
#pragma unroll
      for (int j = 0; j < words; ++j)
        place(half, j, wa[j], wb[j], x);
    }
    if constexpr (traits::affine) {
      const std::uint32_t sa = load_shared_u32(a_scale_ + a * (HeadDim / 32) * 4);
      const std::uint32_t sb = load_shared_u32(b_scale_ + b * (HeadDim / 32) * 4);
      const std::uint32_t scale = low_halves(sa, sb);
      const std::uint32_t min = high_halves(sa, sb);
#pragma unroll
      for (int m = 0; m < row_tiles; ++m)
#pragma unroll
        for (int r = 0; r < 2; ++r)
          x[m][r] = affine(x[m][r], scale, min);
    }
  }

private:
  using traits = form_traits<F>;
  static constexpr std::uint32_t chunks = PageTokens / 8;
  static constexpr std::uint32_t row_bytes = HeadDim * traits::bits / 8;
  static constexpr std::uint32_t half_distance = 16 * traits::bits / 8;
  static constexpr int half_bytes =
      F == form::int4 ? HeadDim / 16 : HeadDim / 16 * traits::bits / 8;
  static constexpr int words = half_bytes < 4 ? 1 : half_bytes / 4;

  __device__ static void load_values(std::uint32_t address, std::uint32_t (&w)[words]) {
    if constexpr (half_bytes == 2)
      w[0] = load_shared_u16(address);
    else
      load_shared(address, w);
  }

  __device__ static void place(int half, int word, std::uint32_t a, std::uint32_t b,
                               std::uint32_t (&x)[row_tiles][2]) {
    constexpr int pairs = 32 / traits::bits;
    std::uint32_t y[pairs];
    pair_values<F>(a, b, y);
    if constexpr (F == form::int4) {
      constexpr int used = half_bytes < 4 ? 2 : 4; // of each nibble
#pragma unroll
      for (int i = 0; i < used; ++i) {
        x[2 * word + i / 2][i % 2] = y[i];
        x[row_tiles / 2 + 2 * word + i / 2][i % 2] = y[4 + i];
      }
    } else {
      constexpr int used = half_bytes < 4 ? pairs / 2 : pairs;
#pragma unroll
      for (int i = 0; i < used; ++i)
        x[half * row_tiles / 2 + (word * pairs + i) / 2][i % 2] = y[i];
    }
  }

  std::uint32_t chunk_;
  std::uint32_t a_, b_;
  std::uint32_t a_scale_, b_scale_;
};

} // namespace pikv::gpu::cuda
