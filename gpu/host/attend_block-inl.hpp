// SPDX-License-Identifier: Apache-2.0
// Blocks of pages and tiles of query rows: what one thread works on in attention. Compiled once per
// target.
#if defined(PIKV_GPU_HOST_ATTEND_BLOCK_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef PIKV_GPU_HOST_ATTEND_BLOCK_INL
#undef PIKV_GPU_HOST_ATTEND_BLOCK_INL
#else
#define PIKV_GPU_HOST_ATTEND_BLOCK_INL
#endif

#include <algorithm>
#include <cmath>
#include <numbers>

#include <pikv/gpu/host/attend_tile-inl.hpp>
#include <pikv/gpu/host/page_values-inl.hpp>
#include <pikv/gpu/kernels.hpp>

HWY_BEFORE_NAMESPACE();
namespace pikv::gpu::HWY_NAMESPACE {

inline constexpr std::size_t tile_floats = 8192; ///< a tile's q and its output: 32 KiB each
inline constexpr std::size_t max_query_rows = 128;
inline constexpr std::size_t step_rows = 8;   ///< query rows whose logits are held at once
inline constexpr std::size_t direct_rows = 8; ///< up to here pages are read in place
inline constexpr std::uint32_t not_settled = ~0U;
inline constexpr float recompute_below = 0x1p-90F; ///< smaller page sums lose terms to the clamp

/// What one thread needs for one tile; about 250 KiB, on its stack.
struct workspace {
  HWY_ALIGN float k[256 * block_tokens];
  HWY_ALIGN float v[256 * block_tokens];
  HWY_ALIGN float q[tile_floats + step_rows * 256]; ///< groups of `pack` rows, `[dim, pack]` each
  HWY_ALIGN float acc[tile_floats + step_rows * 256];
  HWY_ALIGN float s[step_rows * block_tokens];
  HWY_ALIGN float logits[step_rows * block_tokens]; ///< copy for the page sums
  row_state rows[max_query_rows + step_rows];
  token_block block;
};

/// A tile: query rows (position, query head of the group) of one sequence and KV head.
struct tile {
  const sequence_rows* sequence = nullptr;
  std::size_t kv_head = 0;
  std::size_t row = 0; ///< first row, within the sequence
  std::size_t rows = 0;
  std::size_t query_rows = 0; ///< rows * group
  std::size_t pack = 4;       ///< query rows that share a pass over the keys: 1, 2 or 4
  std::size_t step = 4;       ///< query rows that share a pass over the values: pack, or 8
  float* page_lse = nullptr;  ///< of (row 0, query head 0) of the sequence, or null
};

struct pending_page {
  const page_view* page = nullptr;
  std::uint32_t settled = not_settled;
};

struct block_shape {
  const cache_dims& dims;
  const page_layout* layouts; ///< by form
};

/// Whether the block's pages can be read in place: one raw form, vectors that stay in a page.
inline bool reads_in_place(const cache_dims& dims, const pending_page* pages, std::size_t n,
                           std::size_t query_rows) {
  if (query_rows > direct_rows || dims.page_tokens < full_lanes)
    return false;
  for (std::size_t i = 0; i < n; ++i)
    if (!is_raw(pages[i].page->stored) || pages[i].page->stored != pages[0].page->stored)
      return false;
  return true;
}

inline void fill_positions(const cache_dims& dims, const sequence_rows& seq,
                           const pending_page* pages, std::size_t n, token_block& b) {
  const hn::RebindToSigned<full_f32> di;
  constexpr std::int32_t never = std::numeric_limits<std::int32_t>::max();
  b.pages = static_cast<std::uint32_t>(n);
  b.page_tokens = dims.page_tokens;
  b.first = never;
  b.last = std::numeric_limits<std::int32_t>::min();
  b.holes = n * dims.page_tokens < block_tokens;
  for (std::size_t j = 0; j < block_tokens; j += full_lanes)
    hn::StoreU(hn::Set(di, never), di, b.position + j);
  for (std::size_t i = 0; i < n; ++i) {
    const page_view& page = *pages[i].page;
    const auto begin = static_cast<std::int32_t>(page.first_position - seq.first_position);
    b.tokens[i] = page.tokens;
    b.settled[i] = pages[i].settled;
    b.holes |= page.tokens < dims.page_tokens;
    b.first = std::min(b.first, begin);
    b.last = std::max(b.last, begin + page.tokens - 1);
    for (std::int32_t t = 0; t < page.tokens; ++t)
      b.position[i * dims.page_tokens + static_cast<std::size_t>(t)] = begin + t;
  }
}

/// Sets up `w.block` for up to 64 slots of pages; all of them have data. `next`: where the head's
/// part begins in the pages of the block that follows, or null.
inline void fill_block(const block_shape& shape, const tile& t, const pending_page* pages,
                       std::size_t n, const std::byte* const* next, workspace& w) {
  const cache_dims& dims = shape.dims;
  token_block& b = w.block;
  fill_positions(dims, *t.sequence, pages, n, b);
  const std::size_t p = dims.page_tokens;
  const auto head = [&](std::size_t i) {
    const page_layout& lay = shape.layouts[static_cast<std::size_t>(pages[i].page->stored)];
    return pages[i].page->data + t.kv_head * lay.head_bytes;
  };
  b.in_place = reads_in_place(dims, pages, n, t.query_rows);
  if (b.in_place) {
    b.stored = pages[0].page->stored;
    b.k_stride = p;
    const page_layout& lay = shape.layouts[static_cast<std::size_t>(b.stored)];
    const std::size_t bytes = b.stored == form::f32 ? 4 : 2;
    // The next pages are taken to be laid out as these: what is fetched from them is only a hint.
    const auto ahead = [&](std::size_t i) { return next[i] != nullptr ? next[i] : head(i); };
    for (std::size_t i = 0; i < n; ++i) {
      b.v[i] = head(i) + lay.v_offset;
      b.v_ahead[i] = ahead(i) + lay.v_offset;
    }
    for (std::size_t j = 0; j < block_vectors; ++j) {
      const std::size_t page = j * full_lanes / p < n ? j * full_lanes / p : 0;
      const std::size_t offset = lay.k_offset + j * full_lanes % p * bytes;
      b.k[j] = head(page) + offset;
      b.k_ahead[j] = ahead(page) + offset;
    }
    return;
  }
  b.stored = form::f32;
  b.k_stride = block_tokens;
  for (std::size_t j = 0; j < block_vectors; ++j)
    b.k[j] = reinterpret_cast<const std::byte*>(w.k + j * full_lanes);
  for (std::size_t i = 0; i < n; ++i) {
    const page_layout& lay = shape.layouts[static_cast<std::size_t>(pages[i].page->stored)];
    float* v = w.v + i * p * dims.head_dim;
    for (std::size_t line = 0; next[i] != nullptr && line < lay.head_bytes; line += 64)
      __builtin_prefetch(next[i] + line, 0, 2);
    widen_k(dims, lay, head(i), w.k + i * p, block_tokens);
    widen_v(dims, lay, head(i), pages[i].page->tokens, v);
    b.v[i] = reinterpret_cast<const std::byte*>(v);
  }
}

/// Log of the sum of exp(logit) of one row over page i of the block, in natural units.
template <class D>
HWY_INLINE float page_log_sum(D d, const float* weights, const float* logits, std::size_t n,
                              float top) {
  auto sum = hn::Zero(d);
  for (std::size_t i = 0; i < n; i += hn::Lanes(d))
    sum = hn::Add(sum, hn::LoadU(d, weights + i));
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  if (!(total >= recompute_below)) {
    auto high = hn::Set(d, minus_infinity);
    for (std::size_t i = 0; i < n; i += hn::Lanes(d))
      high = hn::Max(high, hn::LoadU(d, logits + i));
    top = hn::GetLane(hn::MaxOfLanes(d, high));
    if (top == minus_infinity)
      return minus_infinity;
    sum = hn::Zero(d);
    for (std::size_t i = 0; i < n; i += hn::Lanes(d))
      sum = hn::Add(sum, exp2_f32(d, hn::Sub(hn::LoadU(d, logits + i), hn::Set(d, top))));
    total = hn::GetLane(hn::SumOfLanes(d, sum));
  }
  return (top + std::log2(total)) * std::numbers::ln2_v<float>;
}

inline void write_page_lse(const cache_dims& dims, const tile& t, std::size_t at,
                           const workspace& w) {
  const token_block& b = w.block;
  const std::size_t end = std::min(at + t.step, t.query_rows);
  for (std::size_t i = at; i < end; ++i) {
    const std::size_t row = t.row + i / dims.group();
    const std::size_t head = t.kv_head * dims.group() + i % dims.group();
    float* out = t.page_lse + (row * dims.query_heads + head) * t.sequence->settled.size();
    for (std::size_t page = 0; page < b.pages; ++page) {
      if (b.settled[page] == not_settled)
        continue;
      const std::size_t s = (i - at) * block_tokens + page * b.page_tokens;
      out[b.settled[page]] =
          b.page_tokens == 8
              ? page_log_sum(hn::CappedTag<float, 8>(), w.s + s, w.logits + s, 8, w.rows[i].top)
              : page_log_sum(full_f32(), w.s + s, w.logits + s, b.page_tokens, w.rows[i].top);
    }
  }
}

/// Applies `w.block` to the tile, MR query rows a pass over keys and VR a pass over values.
template <std::size_t MR, std::size_t VR, bool Ahead, class T>
HWY_NOINLINE void apply_block(const cache_dims& dims, const tile& t, workspace& w) {
  const std::size_t dim = dims.head_dim;
  const token_block& b = w.block;
  for (std::size_t i = 0; i < t.query_rows; i += VR) {
    if (b.first > w.rows[std::min(i + VR, t.query_rows) - 1].position)
      continue;
    const bool fetch = Ahead && i == 0 && b.in_place;
    for (std::size_t r = 0; r < VR; r += MR)
      if (fetch && r == 0)
        all_logits<MR, Ahead, T>(w.q + (i + r) * dim, b, dim, w.s + r * block_tokens);
      else
        all_logits<MR, false, T>(w.q + (i + r) * dim, b, dim, w.s + r * block_tokens);
    if (t.page_lse != nullptr)
      for (std::size_t r = 0; r < VR; ++r)
        for (std::size_t j = 0; j < block_tokens; ++j) {
          const bool beyond = b.position[j] > w.rows[i + r].position;
          w.logits[r * block_tokens + j] = beyond ? minus_infinity : w.s[r * block_tokens + j];
        }
    for (std::size_t r = 0; r < VR; ++r) {
      row_state& row = w.rows[i + r];
      block_weights(b, b.holes || b.last > row.position, row, w.s + r * block_tokens,
                    w.acc + (i + r) * dim, dim);
    }
    if (t.page_lse != nullptr)
      write_page_lse(dims, t, i, w);
    if (fetch)
      all_sums<VR, Ahead, T>(w.s, b, dim, w.acc + i * dim);
    else
      all_sums<VR, false, T>(w.s, b, dim, w.acc + i * dim);
  }
}

inline void apply_block(const cache_dims& dims, const tile& t, workspace& w) {
  if (t.step == 8)
    return apply_block<4, 8, false, float>(dims, t, w);
  with_raw_type(w.block.stored, [&](auto tag) {
    using T = decltype(tag);
    if (t.pack == 1)
      apply_block<1, 1, true, T>(dims, t, w);
    else if (t.pack == 2)
      apply_block<2, 2, true, T>(dims, t, w);
    else
      apply_block<4, 4, true, T>(dims, t, w);
  });
}

} // namespace pikv::gpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
