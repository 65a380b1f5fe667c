// SPDX-License-Identifier: Apache-2.0
// clang-format off
#include <pikv/gpu/host/simd_targets.hpp>
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "pikv/gpu/host/kernels_score.cpp"
#include <hwy/foreach_target.h>
// clang-format on

#include <algorithm>
#include <cmath>
#include <limits>

#include <pikv/gpu/host/half.hpp>
#include <pikv/gpu/host/kernels.hpp>
#include <pikv/gpu/host/page_values-inl.hpp>
#include <pikv/gpu/host/worker_pool.hpp>

HWY_BEFORE_NAMESPACE();
namespace pikv::gpu::HWY_NAMESPACE {

inline constexpr float no_score = -std::numeric_limits<float>::infinity();
inline constexpr std::size_t score_pages = 64; ///< pages whose scores are computed together
inline constexpr std::size_t score_rows = 4;   ///< query rows that share a pass over them

/// Both estimates are linear in two vectors per page, so both are dot products of length
/// 2 * head_dim: mass takes (q, q^2 / 2) against (mean, variance), quest takes (positive part,
/// negative part of q) against (max, min).
template <class T>
HWY_INLINE void load_query(score_kind kind, const T* q, float scale, std::size_t dim, float* out) {
  const full_f32 d;
  const auto zero = hn::Zero(d);
  for (std::size_t c = 0; c < dim; c += full_lanes) {
    const auto x = hn::Mul(load_f32(d, q + c), hn::Set(d, scale));
    const bool mass = kind == score_kind::mass;
    hn::StoreU(mass ? x : hn::Max(x, zero), d, out + c);
    hn::StoreU(mass ? hn::Mul(hn::Mul(x, x), hn::Set(d, 0.5F)) : hn::Min(x, zero), d,
               out + dim + c);
  }
}

/// The summaries of up to 64 pages of one KV head as f32 `[2 * head_dim, 64]`, and what is added to
/// each page's dot product.
struct score_block {
  HWY_ALIGN float summary[2 * 256 * score_pages];
  HWY_ALIGN float base[score_pages];
};

HWY_NOINLINE void load_summaries(const score_args& a, std::span<const page_view> pages,
                                 std::size_t kv_head, score_block& b) {
  const full_f32 d;
  const std::size_t dim = a.dims.head_dim;
  HWY_ALIGN float x[full_lanes];
  for (std::size_t i = 0; i < score_pages; ++i) {
    const page_view* page = i < pages.size() ? &pages[i] : nullptr;
    if (page == nullptr || page->data == nullptr || page->summary == nullptr) {
      b.base[i] = no_score;
      for (std::size_t c = 0; c < 2 * dim; ++c)
        b.summary[c * score_pages + i] = 0;
      continue;
    }
    const summary_layout lay = summary_layout_of(a.dims, page->summary_parts);
    const std::byte* head = page->summary + kv_head * lay.head_bytes;
    const bool mass = a.kind == score_kind::mass;
    b.base[i] = mass ? std::log(static_cast<float>(page->tokens)) : 0.0F;
    const auto* first =
        reinterpret_cast<const f16*>(head + (mass ? lay.mean_offset : lay.max_offset));
    const auto* second =
        reinterpret_cast<const f16*>(head + (mass ? lay.var_offset : lay.min_offset));
    for (std::size_t c = 0; c < 2 * dim; c += full_lanes) {
      hn::Store(load_f32(d, c < dim ? first + c : second + (c - dim)), d, x);
      for (std::size_t j = 0; j < full_lanes; ++j)
        b.summary[(c + j) * score_pages + i] = x[j];
    }
  }
}

/// Scores of four rows against NV vectors of pages.
template <std::size_t NV>
HWY_INLINE void score_vectors(const float* q, const score_block& b, std::size_t first,
                              std::size_t length, float* out) {
  const full_f32 d;
  using V = hn::Vec<full_f32>;
  V acc[score_rows][NV];
  PIKV_UNROLL for (std::size_t j = 0; j < NV; ++j)
      PIKV_UNROLL for (std::size_t r = 0; r < score_rows; ++r) acc[r][j] =
          hn::Load(d, b.base + first + j * full_lanes);
  const float* s = b.summary + first;
  for (std::size_t c = 0; c < length; ++c, s += score_pages) {
    V x[NV];
    PIKV_UNROLL for (std::size_t j = 0; j < NV; ++j) x[j] = hn::LoadU(d, s + j * full_lanes);
    PIKV_UNROLL for (std::size_t r = 0; r < score_rows; ++r) {
      const V y = hn::Set(d, q[r * 2 * 256 + c]);
      PIKV_UNROLL for (std::size_t j = 0; j < NV; ++j) acc[r][j] = hn::MulAdd(y, x[j], acc[r][j]);
    }
  }
  PIKV_UNROLL for (std::size_t j = 0; j < NV; ++j)
      PIKV_UNROLL for (std::size_t r = 0; r < score_rows; ++r)
          hn::StoreU(acc[r][j], d, out + r * score_pages + first + j * full_lanes);
}

/// One part: 64 pages of one sequence and KV head against all the sequence's rows.
HWY_NOINLINE void score_part(const score_args& a, std::size_t sequence, std::size_t kv_head,
                             std::size_t first_page) {
  constexpr std::size_t nv = full_lanes == 8 ? 2 : 4;
  score_block b;
  const sequence_rows& seq = a.sequences[sequence];
  const std::size_t pages = std::min(score_pages, seq.settled.size() - first_page);
  load_summaries(a, seq.settled.views.subspan(first_page, pages), kv_head, b);
  HWY_ALIGN float q[score_rows * 2 * 256] = {};
  HWY_ALIGN float scores[score_rows * score_pages];
  const std::size_t group = a.dims.group();
  const std::size_t query_rows = seq.row_count * group;
  const auto head_of = [&](std::size_t i) { return kv_head * group + i % group; };
  for (std::size_t i = 0; i < query_rows; i += score_rows) {
    const std::size_t n = std::min(score_rows, query_rows - i);
    with_raw_type(raw_form(a.q.type), [&](auto tag) HWY_ATTR {
      const auto* in = reinterpret_cast<const decltype(tag)*>(a.q.data);
      for (std::size_t r = 0; r < n; ++r)
        load_query(a.kind,
                   in + (seq.row_begin + (i + r) / group) * a.q.row_stride
                       + head_of(i + r) * a.q.head_stride,
                   a.scale, a.dims.head_dim, q + r * 2 * 256);
    });
    for (std::size_t j = 0; j < score_pages / full_lanes; j += nv)
      score_vectors<nv>(q, b, j * full_lanes, 2 * std::size_t{a.dims.head_dim}, scores);
    for (std::size_t r = 0; r < n; ++r)
      std::copy_n(scores + r * score_pages, pages,
                  a.out + a.offsets[sequence]
                      + ((i + r) / group * a.dims.query_heads + head_of(i + r)) * seq.settled.size()
                      + first_page);
  }
}

void score(const score_args& a, executor& exec) {
  if (a.kind == score_kind::none)
    return;
  std::size_t blocks = 0; // of the longest sequence
  for (const sequence_rows& s : a.sequences)
    blocks = std::max(blocks, (s.settled.size() + score_pages - 1) / score_pages);
  const std::size_t per_sequence = a.dims.kv_heads * blocks;
  exec.run(a.sequences.size() * per_sequence, [&](std::size_t i, std::size_t) {
    const std::size_t first_page = i % blocks * score_pages;
    const std::size_t sequence = i / per_sequence;
    if (first_page < a.sequences[sequence].settled.size())
      score_part(a, sequence, i / blocks % a.dims.kv_heads, first_page);
  });
}

} // namespace pikv::gpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pikv::gpu {
HWY_EXPORT(score);

void detail::host_score(const score_args& args, executor& exec) noexcept {
  HWY_DYNAMIC_DISPATCH(score)(args, exec);
}

} // namespace pikv::gpu
#endif
