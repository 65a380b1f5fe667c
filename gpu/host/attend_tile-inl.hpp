// SPDX-License-Identifier: Apache-2.0
// The inner loops of attention: logits, online softmax and weighted sum of one block of tokens for
// a few query rows. Compiled once per target.
#if defined(PIKV_GPU_HOST_ATTEND_TILE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef PIKV_GPU_HOST_ATTEND_TILE_INL
#undef PIKV_GPU_HOST_ATTEND_TILE_INL
#else
#define PIKV_GPU_HOST_ATTEND_TILE_INL
#endif

#include <limits>

#include <pikv/gpu/host/simd-inl.hpp>
#include <pikv/messages/types.hpp>

HWY_BEFORE_NAMESPACE();
namespace pikv::gpu::HWY_NAMESPACE {

inline constexpr std::size_t block_tokens = 64;
inline constexpr std::size_t block_vectors = block_tokens / full_lanes;
inline constexpr std::size_t block_pages = block_tokens / 8;
inline constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

/// Up to 64 tokens of one KV head, either in the pages themselves or copied to f32.
struct token_block {
  form stored = form::f32;                 ///< raw: the element type behind the pointers
  const std::byte* k[block_vectors];       ///< channel 0 of each vector of tokens
  const std::byte* k_ahead[block_vectors]; ///< in place: `k` of the next block, or this one's
  std::size_t k_stride = 0;                ///< elements from one channel to the next
  const std::byte* v[block_pages];         ///< slot 0 of each page, `[page_tokens, head_dim]`
  const std::byte* v_ahead[block_pages];   ///< in place: `v` of the next block, or this one's
  std::uint32_t tokens[block_pages];       ///< filled slots
  std::uint32_t settled[block_pages];      ///< index among the settled pages, or none
  std::uint32_t pages = 0;
  std::uint32_t page_tokens = 0;
  std::int32_t first = 0; ///< smallest position, relative to the sequence's rows
  std::int32_t last = 0;  ///< largest position
  bool in_place = false;  ///< the pointers lead into pages, not into copies
  bool holes = false;     ///< some of the 64 slots hold no token
  HWY_ALIGN std::int32_t position[block_tokens]; ///< of each slot; beyond every row where empty
};

/// Running state of one query row: weights so far are relative to 2^top.
struct row_state {
  float top = minus_infinity;
  std::int32_t position = 0; ///< relative to the sequence's first row
  HWY_ALIGN float sum[full_lanes] = {};
};

/// Asks for the vectors that the same step on the next block will read. Each step of both passes
/// fetches what it uses itself, so the memory is busy all the time and never asked for too much at
/// once. Into the second-level cache: a block's K and V would push each other out of the first.
template <class T>
HWY_INLINE void fetch_ahead(const T* from, std::size_t vectors) {
  const auto* bytes = reinterpret_cast<const std::byte*>(from);
  for (std::size_t line = 0; line < vectors * full_lanes * sizeof(T); line += 64)
    __builtin_prefetch(bytes + line, 0, 2);
}

/// Logits of MR query rows against a block: s[r, t] = sum_c q[c, r] * k[c, t]; s has rows of 64.
template <std::size_t MR, std::size_t NV, bool Ahead, class T>
HWY_INLINE void block_logits(const float* HWY_RESTRICT q, const token_block& b, std::size_t first,
                             std::size_t dim, float* HWY_RESTRICT s) {
  const full_f32 d;
  using V = hn::Vec<full_f32>;
  V acc[MR][NV];
  const T* k[NV];
  [[maybe_unused]] const T* ahead[NV];
  PIKV_UNROLL for (std::size_t j = 0; j < NV; ++j) {
    k[j] = reinterpret_cast<const T*>(b.k[first + j]);
    if constexpr (Ahead)
      ahead[j] = reinterpret_cast<const T*>(b.k_ahead[first + j]);
    PIKV_UNROLL for (std::size_t r = 0; r < MR; ++r) acc[r][j] = hn::Zero(d);
  }
  const std::size_t stride = b.k_stride;
  for (std::size_t c = 0, at = 0; c < dim; ++c, at += stride, q += MR) {
    V x[NV];
    PIKV_UNROLL for (std::size_t j = 0; j < NV; ++j) x[j] = load_f32(d, k[j] + at);
    if constexpr (Ahead)
      PIKV_UNROLL for (std::size_t j = 0; j < NV; ++j) fetch_ahead(ahead[j] + at, 1);
    PIKV_UNROLL for (std::size_t r = 0; r < MR; ++r) {
      const V y = hn::Set(d, q[r]);
      PIKV_UNROLL for (std::size_t j = 0; j < NV; ++j) acc[r][j] = hn::MulAdd(y, x[j], acc[r][j]);
    }
  }
  PIKV_UNROLL for (std::size_t r = 0; r < MR; ++r) PIKV_UNROLL for (std::size_t j = 0; j < NV; ++j)
      hn::StoreU(acc[r][j], d, s + r * block_tokens + (first + j) * full_lanes);
}

/// acc[r, 0..NV vectors) += sum_t p[r, t] * v[t, column...]; U tokens at once keep the adders busy.
template <std::size_t MR, std::size_t NV, std::size_t U, bool Ahead, class T>
HWY_INLINE void block_sum(const float* HWY_RESTRICT p, const token_block& b, std::size_t column,
                          std::size_t dim, float* HWY_RESTRICT acc) {
  const full_f32 d;
  using V = hn::Vec<full_f32>;
  V sum[U][MR][NV];
  PIKV_UNROLL for (std::size_t r = 0; r < MR; ++r)
      PIKV_UNROLL for (std::size_t j = 0; j < NV; ++j) {
    sum[0][r][j] = hn::LoadU(d, acc + r * dim + column + j * full_lanes);
    PIKV_UNROLL for (std::size_t u = 1; u < U; ++u) sum[u][r][j] = hn::Zero(d);
  }
  const auto token = [&](auto& to, const float* w, const T* v) HWY_ATTR {
    V x[NV];
    PIKV_UNROLL for (std::size_t j = 0; j < NV; ++j) x[j] = load_f32(d, v + j * full_lanes);
    PIKV_UNROLL for (std::size_t r = 0; r < MR; ++r) {
      const V y = hn::Set(d, w[r * block_tokens]);
      PIKV_UNROLL for (std::size_t j = 0; j < NV; ++j) to[r][j] = hn::MulAdd(y, x[j], to[r][j]);
    }
  };
  for (std::uint32_t i = 0; i < b.pages; ++i) {
    const T* v = reinterpret_cast<const T*>(b.v[i]) + column;
    [[maybe_unused]] const T* ahead = nullptr;
    if constexpr (Ahead)
      ahead = reinterpret_cast<const T*>(b.v_ahead[i]) + column;
    const float* w = p + std::size_t{i} * b.page_tokens;
    std::uint32_t t = 0;
    for (; t + U <= b.tokens[i]; t += U)
      PIKV_UNROLL for (std::size_t u = 0; u < U; ++u) {
        token(sum[u], w + t + u, v + (t + u) * dim);
        if constexpr (Ahead)
          fetch_ahead(ahead + (t + u) * dim, NV);
      }
    for (; t < b.tokens[i]; ++t)
      token(sum[0], w + t, v + t * dim);
  }
  PIKV_UNROLL for (std::size_t r = 0; r < MR; ++r)
      PIKV_UNROLL for (std::size_t j = 0; j < NV; ++j) {
    PIKV_UNROLL for (std::size_t u = 1; u < U; ++u) sum[0][r][j] =
        hn::Add(sum[0][r][j], sum[u][r][j]);
    hn::StoreU(sum[0][r][j], d, acc + r * dim + column + j * full_lanes);
  }
}

/// Raises the reference of a row to `top` and rescales what it has.
HWY_NOINLINE void raise_top(row_state& row, float top, float* HWY_RESTRICT acc, std::size_t dim) {
  const full_f32 d;
  const auto factor =
      row.top == minus_infinity ? hn::Zero(d) : exp2_f32(d, hn::Set(d, row.top - top));
  row.top = top;
  hn::StoreU(hn::Mul(hn::LoadU(d, row.sum), factor), d, row.sum);
  for (std::size_t i = 0; i < dim; i += full_lanes)
    hn::StoreU(hn::Mul(hn::LoadU(d, acc + i), factor), d, acc + i);
}

/// Turns a row's logits into weights 2^(s - top). The reference moves only when the largest logit
/// exceeds it by 2^8: f32 keeps its relative precision, so only overflow has to be avoided.
HWY_INLINE void block_weights(const token_block& b, bool masked, row_state& row,
                              float* HWY_RESTRICT s, float* HWY_RESTRICT acc, std::size_t dim) {
  const full_f32 d;
  const hn::RebindToSigned<full_f32> di;
  using V = hn::Vec<full_f32>;
  const V low = hn::Set(d, minus_infinity);
  V x[block_vectors];
  V top = low;
  if (masked) {
    const auto position = hn::Set(di, row.position);
    PIKV_UNROLL for (std::size_t j = 0; j < block_vectors; ++j) {
      const auto beyond = hn::Gt(hn::LoadU(di, b.position + j * full_lanes), position);
      x[j] = hn::IfThenElse(hn::RebindMask(d, beyond), low, hn::LoadU(d, s + j * full_lanes));
      hn::StoreU(x[j], d, s + j * full_lanes);
      top = hn::Max(top, x[j]);
    }
  } else {
    PIKV_UNROLL for (std::size_t j = 0; j < block_vectors; ++j) {
      x[j] = hn::LoadU(d, s + j * full_lanes);
      top = hn::Max(top, x[j]);
    }
  }
  if (!hn::AllFalse(d, hn::Gt(top, hn::Set(d, row.top + 8.0F))))
    raise_top(row, hn::GetLane(hn::MaxOfLanes(d, top)), acc, dim);
  if (row.top == minus_infinity) { // nothing read so far
    PIKV_UNROLL for (std::size_t j = 0; j < block_vectors; ++j)
        hn::StoreU(hn::Zero(d), d, s + j * full_lanes);
    return;
  }
  const V reference = hn::Set(d, row.top);
  V sum = hn::LoadU(d, row.sum);
  PIKV_UNROLL for (std::size_t j = 0; j < block_vectors; ++j) {
    const V w = exp2_f32(d, hn::Sub(x[j], reference));
    sum = hn::Add(sum, w);
    hn::StoreU(w, d, s + j * full_lanes);
  }
  hn::StoreU(sum, d, row.sum);
}

/// The logits of MR rows over all vectors of a block.
template <std::size_t MR, bool Ahead, class T>
HWY_INLINE void all_logits(const float* q, const token_block& b, std::size_t dim, float* s) {
  constexpr std::size_t nv = full_lanes == 8 && MR >= 4 ? 2 : 4;
  for (std::size_t j = 0; j < block_vectors; j += nv)
    block_logits<MR, nv, Ahead, T>(q, b, j, dim, s);
}

/// The weighted sums of MR rows over all channels.
template <std::size_t MR, bool Ahead, class T>
HWY_INLINE void all_sums(const float* p, const token_block& b, std::size_t dim, float* acc) {
  constexpr std::size_t u = MR == 1 ? 4 : MR == 2 ? 2 : 1;
  std::size_t column = 0;
  if constexpr (full_lanes == 16 && MR <= 4)
    for (; column + 4 * full_lanes <= dim; column += 4 * full_lanes)
      block_sum<MR, 4, MR == 1 ? 2 : 1, Ahead, T>(p, b, column, dim, acc);
  for (; column < dim; column += 2 * full_lanes)
    block_sum<MR, 2, u, Ahead, T>(p, b, column, dim, acc);
}

} // namespace pikv::gpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
