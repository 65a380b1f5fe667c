// SPDX-License-Identifier: Apache-2.0
/// \file
/// A warp that computes: takes tiles of a segment from the ring and keeps the partial attention of
/// its share of them in registers.
#pragma once

#include <pikv/gpu/cuda/attend_fragments.cuh>
#include <pikv/gpu/cuda/attend_page_lse.cuh>
#include <pikv/gpu/cuda/attend_queries.cuh>
#include <pikv/gpu/cuda/attend_state.cuh>

namespace pikv::gpu::cuda {

template <int HeadDim, int PageTokens, int ColumnTiles>
class attend_consumer {
public:
  using state = attend_state<HeadDim, ColumnTiles>;
  using queries = attend_queries<HeadDim, ColumnTiles>;
  static constexpr int row_tiles = HeadDim / 16;
  static constexpr int steps = HeadDim / 16;
  static constexpr std::uint32_t page_chunks = PageTokens / 8;

  /// `operands`: shared memory for what query_class says, filled by `begin`.
  __device__ attend_consumer(const attend_kernel_args& args, std::uint16_t* operands)
      : args_(args), queries_(operands) {}

  /// Called by all consumer warps at once, when none works on the segment before.
  __device__ void begin(const attend_segment& s, const typename queries::part& own) {
    segment_ = &s;
    acc.reset();
    queries::store(own, queries_);
    named_barrier(1, 32 * consumer_warps<ColumnTiles>);
  }

  /// Adds one tile to the state.
  __device__ void add(const attend_tile_info& info) {
    if (args_.launch.page_lse != nullptr)
      clear_unread_pages(args_, *segment_, info, attend_tile_tokens / PageTokens);
    const std::uint32_t forms = info.forms;
    const bool single = (forms & (forms - 1)) == 0;
    add_pages<form::bf16>(info, forms, single);
    add_pages<form::f16>(info, forms, single);
    add_pages<form::fp8>(info, forms, single);
    add_pages<form::int8>(info, forms, single);
    add_pages<form::int4>(info, forms, single);
    if ((forms & 1U << static_cast<std::uint32_t>(form::f32)) != 0)
      acc.poison();
  }

  state acc;

private:
  using scores = float[ColumnTiles][4][4]; // S^T: row tiles of 16 tokens, fragment

  template <form F>
  __device__ void add_pages(const attend_tile_info& info, std::uint32_t forms, bool single) {
    if ((forms & 1U << static_cast<std::uint32_t>(F)) == 0)
      return;
    if (info.whole && single)
      add_form<F, false>(info);
    else
      add_form<F, true>(info);
  }

  /// How many of a page's slots each of the lane's columns reads: those at or before its position.
  template <form F>
  __device__ void count_slots(const attend_tile_info& info, std::uint32_t page,
                              std::uint32_t (&count)[ColumnTiles][2]) const {
    const std::uint32_t tokens = info.stored[page] == F ? info.tokens[page] : 0;
    const std::uint32_t first = info.first[page];
#pragma unroll
    for (int n = 0; n < ColumnTiles; ++n)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const std::uint32_t column = 8 * n + threadIdx.x % 4 * 2 + c;
        const std::uint32_t position = segment_->position + column / args_.group;
        count[n][c] = first > position ? 0 : min(tokens, position - first + 1);
      }
  }

  template <form F, bool Masked>
  __device__ void add_form(const attend_tile_info& info) {
    const std::uint32_t chunk = threadIdx.x % 32 / 4;
    const std::uint32_t page = chunk / page_chunks;
    const attend_form_layout& layout = args_.layouts[static_cast<std::uint32_t>(F)];
    scores s;
    const std::uint32_t other = Masked ? any_page<F>(info) : 0;
    const std::uint32_t head = base_of<F, Masked>(info, page, other);
    multiply_keys<F>(k_tile<F, HeadDim, PageTokens>(head, layout, chunk % page_chunks), s);
    float k_scale = args_.scale_log2;
    float v_scale = 1;
    if constexpr (form_traits<F>::fp8) {
      k_scale *= __uint_as_float(load_shared_u32(head + layout.k_scale_offset));
      v_scale = __uint_as_float(load_shared_u32(head + layout.v_scale_offset));
    }
    // The weight of a token takes V's scale: exp2(logit + log2 scale). Weights stay at most 1
    // below the reference, and V needs no multiplication.
    const float shift = form_traits<F>::fp8 ? __log2f(v_scale) : 0.0F;
#pragma unroll
    for (int n = 0; n < ColumnTiles; ++n)
#pragma unroll
      for (int m = 0; m < 4; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          s[n][m][i] =
              form_traits<F>::fp8 ? fmaf(s[n][m][i], k_scale, shift) : s[n][m][i] * k_scale;
    if constexpr (Masked)
      mask<F>(info, page, chunk % page_chunks, s);
    if (args_.launch.page_lse != nullptr)
      write_page_lse<page_chunks>(args_, *segment_, info, page, reads<F>(info, page), shift, s);
    acc.weigh(s, form_traits<F>::fp8 ? 1 / v_scale : 1.0F);
    multiply_values<F, Masked>(info, layout, other, s);
  }

  template <form F>
  __device__ static bool reads(const attend_tile_info& info, std::uint32_t page) {
    return info.stored[page] == F && info.tokens[page] > 0;
  }

  /// The first page of form F that is read; there is one.
  template <form F>
  __device__ static std::uint32_t any_page(const attend_tile_info& info) {
    const std::uint32_t lane = threadIdx.x % 32;
    const bool is = lane < attend_tile_tokens / PageTokens && reads<F>(info, lane);
    return static_cast<std::uint32_t>(__ffs(static_cast<int>(__ballot_sync(~0U, is)))) - 1;
  }

  /// Where to load a page's part from. What is not read, or not in this form, has no such bytes in
  /// the ring, perhaps not even room before its end: page `other` stands in, and is masked.
  template <form F, bool Masked>
  __device__ static std::uint32_t base_of(const attend_tile_info& info, std::uint32_t page,
                                          std::uint32_t other) {
    return info.base[Masked && !reads<F>(info, page) ? other : page];
  }

  template <form F>
  __device__ void multiply_keys(const k_tile<F, HeadDim, PageTokens>& k, scores& s) const {
#pragma unroll
    for (int n = 0; n < ColumnTiles; ++n)
#pragma unroll
      for (int m = 0; m < 4; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          s[n][m][i] = 0;
    // Loops are unrolled only so far that the code of a tile stays in the instruction cache nearest
    // to the schedulers.
    const std::uint32_t operands = queries::template operands_of<F>(queries_);
    constexpr int unroll = form_traits<F>::raw ? 4 : 2;
#pragma unroll unroll
    for (int step = 0; step < steps; ++step) {
      std::uint32_t a[4][4];
      k.load(step, a);
#pragma unroll
      for (int n = 0; n < ColumnTiles; ++n) {
        std::uint32_t b[2];
        load_shared(operands + static_cast<std::uint32_t>(n * steps + step) * 32 * 8, b);
#pragma unroll
        for (int m = 0; m < 4; ++m)
          multiply_add<form_traits<F>::bf16>(s[n][m], a[m], b);
      }
    }
  }

  template <form F>
  __device__ void mask(const attend_tile_info& info, std::uint32_t page, std::uint32_t chunk,
                       scores& s) const {
    std::uint32_t count[ColumnTiles][2];
    count_slots<F>(info, page, count);
#pragma unroll
    for (int n = 0; n < ColumnTiles; ++n)
#pragma unroll
      for (int m = 0; m < 4; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if (slot_of<F, PageTokens>(chunk, 2 * m + i / 2) >= count[n][i % 2])
            s[n][m][i] = -INFINITY;
  }

  template <form F, bool Masked>
  __device__ void multiply_values(const attend_tile_info& info, const attend_form_layout& layout,
                                  std::uint32_t other, const scores& s) {
    const std::uint32_t chunk = threadIdx.x % 4 * 2;
    const std::uint32_t page_a = chunk / page_chunks;
    const std::uint32_t page_b = (chunk + 1) / page_chunks;
    const v_tile<F, HeadDim, PageTokens> v(base_of<F, Masked>(info, page_a, other),
                                           base_of<F, Masked>(info, page_b, other), layout);
    std::uint32_t tokens_a = 0, tokens_b = 0;
    if constexpr (Masked) {
      tokens_a = info.stored[page_a] == F ? info.tokens[page_a] : 0;
      tokens_b = info.stored[page_b] == F ? info.tokens[page_b] : 0;
    }
    constexpr bool bf16 = form_traits<F>::bf16;
    std::uint32_t b[4][ColumnTiles][2];
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int n = 0; n < ColumnTiles; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float(&w)[4] = s[n][j];
          b[j][n][i] = transpose_8x8(bf16 ? pack_bf16(w[2 * i], w[2 * i + 1])
                                          : pack_f16(w[2 * i], w[2 * i + 1]));
        }
    constexpr int unroll = form_traits<F>::raw ? 2 : 1;
#pragma unroll unroll
    for (int j = 0; j < 4; ++j) {
      std::uint32_t x[2][row_tiles][2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        v.load(2 * j + i, x[i]);
        if constexpr (Masked)
          clear_unfilled<F>(chunk, 2 * j + i, tokens_a, tokens_b, x[i]);
      }
#pragma unroll
      for (int n = 0; n < ColumnTiles; ++n) {
#pragma unroll
        for (int m = 0; m < row_tiles; ++m) {
          const std::uint32_t a[4] = {x[0][m][0], x[0][m][1], x[1][m][0], x[1][m][1]};
          multiply_add<bf16>(acc.out[n][m], a, b[0][n]);
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) { // registers cannot be indexed by j
          b[0][n][i] = b[1][n][i];
          b[1][n][i] = b[2][n][i];
          b[2][n][i] = b[3][n][i];
        }
      }
    }
  }

  /// Slots that hold no token may hold NaN, which a weight of 0 would not cancel.
  template <form F>
  __device__ static void clear_unfilled(std::uint32_t chunk, int i, std::uint32_t tokens_a,
                                        std::uint32_t tokens_b, std::uint32_t (&x)[row_tiles][2]) {
    const std::uint32_t in_page = chunk % page_chunks;
    const std::uint32_t slot_b = page_chunks == 1 ? 0 : in_page + 1;
    const std::uint32_t keep = (slot_of<F, PageTokens>(in_page, i) < tokens_a ? 0x0000FFFFU : 0U)
                               | (slot_of<F, PageTokens>(slot_b, i) < tokens_b ? 0xFFFF0000U : 0U);
#pragma unroll
    for (int m = 0; m < row_tiles; ++m)
#pragma unroll
      for (int r = 0; r < 2; ++r)
        x[m][r] &= keep;
  }

  const attend_kernel_args& args_;
  const attend_segment* segment_ = nullptr;
  std::uint16_t* queries_; ///< see query_class
};

} // namespace pikv::gpu::cuda
