// SPDX-License-Identifier: Apache-2.0
// clang-format off
#include <pikv/gpu/host/simd_targets.hpp>
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "pikv/gpu/host/kernels_attend.cpp"
#include <hwy/foreach_target.h>
// clang-format on

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include <pikv/gpu/host/attend_plan-inl.hpp>
#include <pikv/gpu/host/kernels.hpp>
#include <pikv/gpu/host/worker_pool.hpp>

HWY_BEFORE_NAMESPACE();
namespace pikv::gpu::HWY_NAMESPACE {

/// Loads, scales and packs the queries of a tile; logits are in units of log 2.
template <class T>
HWY_INLINE void load_queries(const attend_args& a, const tile& t, workspace& w) {
  const full_f32 d;
  const std::size_t dim = a.dims.head_dim;
  const auto scale = hn::Set(d, a.scale * std::numbers::log2e_v<float>);
  const std::size_t padded = (t.query_rows + t.step - 1) / t.step * t.step;
  HWY_ALIGN float x[256];
  for (std::size_t i = 0; i < padded; ++i) {
    const std::size_t j = std::min(i, t.query_rows - 1);
    const std::size_t row = t.sequence->row_begin + t.row + j / a.dims.group();
    const std::size_t head = t.kv_head * a.dims.group() + j % a.dims.group();
    const auto* in =
        reinterpret_cast<const T*>(a.q.data) + row * a.q.row_stride + head * a.q.head_stride;
    for (std::size_t c = 0; c < dim; c += full_lanes)
      hn::Store(hn::Mul(load_f32(d, in + c), scale), d, x + c);
    float* out = w.q + i / t.pack * t.pack * dim + i % t.pack;
    for (std::size_t c = 0; c < dim; ++c)
      out[c * t.pack] = x[c];
    w.rows[i] = {};
    w.rows[i].position = static_cast<std::int32_t>(t.row + j / a.dims.group());
  }
  std::memset(w.acc, 0, padded * dim * sizeof(float));
}

/// Where the next pages of the source keep the tile's head, as far as they have data.
inline void find_next(const attend_plan& plan, const tile& t, const page_source& source,
                      std::size_t begin, std::size_t end, const std::byte** next) {
  for (std::size_t i = 0; i < block_pages; ++i) {
    const page_view* page = begin + i < end ? source.at(begin + i).page : nullptr;
    next[i] =
        page == nullptr || page->data == nullptr
            ? nullptr
            : page->data
                  + t.kv_head * plan.layouts[static_cast<std::size_t>(page->stored)].head_bytes;
  }
}

/// Reads the chunk's part of the source into the tile.
inline void read_pages(const attend_plan& plan, const tile& t, const page_source& source,
                       std::size_t chunk, workspace& w) {
  const cache_dims& dims = plan.args.dims;
  const block_shape shape{dims, plan.layouts};
  const std::size_t per_block = block_tokens / dims.page_tokens;
  const std::uint64_t last = std::uint64_t{t.sequence->first_position} + t.row + t.rows - 1;
  pending_page pending[block_pages];
  const std::byte* next[block_pages];
  std::size_t n = 0;
  const std::size_t end = source.size() * (chunk + 1) / plan.chunks;
  for (std::size_t i = source.size() * chunk / plan.chunks; i < end; ++i) {
    const pending_page x = source.at(i);
    if (x.page->data != nullptr && x.page->tokens > 0 && x.page->first_position <= last)
      pending[n++] = x;
    if (n == 0 || (n < per_block && i + 1 < end))
      continue;
    find_next(plan, t, source, i + 1, end, next);
    fill_block(shape, t, pending, n, next, w);
    apply_block(dims, t, w);
    n = 0;
  }
}

/// Writes one query row's output and lse from its weighted sum, reference and sum of weights.
inline void finish_row(const attend_args& a, const tile& t, std::size_t i, const float* acc,
                       float top, float sum) {
  const full_f32 d;
  const std::size_t row = t.sequence->row_begin + t.row + i / a.dims.group();
  const std::size_t head = t.kv_head * a.dims.group() + i % a.dims.group();
  const bool any = top != minus_infinity;
  if (a.lse != nullptr)
    a.lse[row * a.dims.query_heads + head] =
        any ? (top + std::log2(sum)) * std::numbers::ln2_v<float> : minus_infinity;
  const auto factor = hn::Set(d, any ? 1 / sum : 0.0F);
  with_raw_type(raw_form(a.out.type), [&](auto tag) HWY_ATTR {
    auto* out = reinterpret_cast<decltype(tag)*>(a.out.data) + row * a.out.row_stride
                + head * a.out.head_stride;
    for (std::size_t c = 0; c < a.dims.head_dim; c += full_lanes)
      store_f32(d, hn::Mul(hn::LoadU(d, acc + c), factor), out + c);
  });
}

inline void finish_tile(const attend_plan& plan, const tile& t, const workspace& w,
                        float* partial) {
  const full_f32 d;
  const std::size_t dim = plan.dim();
  for (std::size_t i = 0; i < t.query_rows; ++i) {
    const row_state& row = w.rows[i];
    const float sum = hn::GetLane(hn::SumOfLanes(d, hn::LoadU(d, row.sum)));
    if (partial == nullptr) {
      finish_row(plan.args, t, i, w.acc + i * dim, row.top, sum);
      continue;
    }
    float* out = partial + i * plan.partial_row_floats();
    std::memcpy(out, w.acc + i * dim, dim * sizeof(float));
    out[dim] = row.top;
    out[dim + 1] = sum;
  }
}

inline void attend_tile(const attend_plan& plan, const tile& t, std::size_t chunk, float* partial,
                        workspace& w) {
  with_raw_type(raw_form(plan.args.q.type),
                [&](auto tag) HWY_ATTR { load_queries<decltype(tag)>(plan.args, t, w); });
  read_pages(plan, t, source_of(plan.args, *t.sequence, t.row, t.kv_head), chunk, w);
  finish_tile(plan, t, w, partial);
}

HWY_NOINLINE void attend_part(const attend_plan& plan, std::size_t part) {
  workspace w;
  tile t = tile_of(plan, part / plan.chunks);
  const std::size_t chunk = part % plan.chunks;
  float* partial = plan.chunks > 1 ? plan.partial(part) : nullptr;
  if (plan.args.selection == nullptr) {
    set_shape(plan.args.dims, t);
    if (t.rows > 0)
      attend_tile(plan, t, chunk, partial, w);
    return;
  }
  const std::size_t end = t.row + t.rows; // rows read different pages: one at a time
  for (t.rows = 1; t.row < end; ++t.row) {
    set_shape(plan.args.dims, t);
    attend_tile(plan, t, chunk, partial, w);
    if (partial != nullptr)
      partial += t.query_rows * plan.partial_row_floats();
  }
}

/// Merges the chunks of one tile.
HWY_NOINLINE void merge_chunks(const attend_plan& plan, std::size_t group) {
  const full_f32 d;
  tile t = tile_of(plan, group);
  set_shape(plan.args.dims, t);
  HWY_ALIGN float acc[256];
  for (std::size_t i = 0; i < t.query_rows; ++i) {
    const std::size_t row = i * plan.partial_row_floats();
    const auto chunk = [&](std::size_t c) { return plan.partial(group * plan.chunks + c) + row; };
    float top = minus_infinity;
    for (std::size_t c = 0; c < plan.chunks; ++c)
      top = std::max(top, chunk(c)[plan.dim()]);
    float sum = 0;
    std::memset(acc, 0, sizeof acc);
    for (std::size_t c = 0; c < plan.chunks; ++c) {
      const float* x = chunk(c);
      if (x[plan.dim()] == minus_infinity)
        continue;
      const float factor = std::exp2(x[plan.dim()] - top);
      sum += factor * x[plan.dim() + 1];
      for (std::size_t j = 0; j < plan.dim(); j += full_lanes)
        hn::Store(hn::MulAdd(hn::Set(d, factor), hn::LoadU(d, x + j), hn::Load(d, acc + j)), d,
                  acc + j);
    }
    finish_row(plan.args, t, i, acc, top, sum);
  }
}

inline void clear_page_lse(const attend_args& a, std::size_t part) {
  const std::size_t s = part / a.dims.kv_heads;
  const sequence_rows& seq = a.sequences[s];
  const std::size_t run = a.dims.group() * seq.settled.size();
  for (std::size_t row = 0; row < seq.row_count; ++row)
    std::fill_n(a.page_lse + a.page_lse_offsets[s]
                    + (row * a.dims.kv_heads + part % a.dims.kv_heads) * run,
                run, minus_infinity);
}

void attend(const attend_args& a, executor& exec) {
  attend_plan plan{a, {}};
  for (std::size_t i = 0; i < form_count; ++i)
    plan.layouts[i] = layout_of(a.dims, static_cast<form>(i));
  const std::size_t query_rows = std::min(max_query_rows, tile_floats / a.dims.head_dim);
  plan.tile_rows = std::max<std::size_t>(1, query_rows / a.dims.group());
  std::size_t rows = 0;
  for (const sequence_rows& s : a.sequences)
    rows = std::max<std::size_t>(rows, s.row_count);
  plan.tiles = (rows + plan.tile_rows - 1) / plan.tile_rows;
  if (plan.groups() == 0)
    return;
  choose_chunks(plan, exec.threads());
  std::unique_ptr<float[]> partials;
  if (plan.chunks > 1) {
    const std::size_t rows_of_part = plan.tile_rows * a.dims.group();
    partials.reset(new (std::nothrow) float[plan.groups() * plan.chunks * rows_of_part
                                            * plan.partial_row_floats()]);
    plan.partials = partials.get();
    if (!partials)
      plan.chunks = 1;
  }
  if (a.page_lse != nullptr)
    exec.run(a.sequences.size() * a.dims.kv_heads,
             [&](std::size_t i, std::size_t) { clear_page_lse(a, i); });
  exec.run(plan.groups() * plan.chunks, [&](std::size_t i, std::size_t) { attend_part(plan, i); });
  if (plan.chunks > 1)
    exec.run(plan.groups(), [&](std::size_t i, std::size_t) { merge_chunks(plan, i); });
}

} // namespace pikv::gpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pikv::gpu {
HWY_EXPORT(attend);

void detail::host_attend(const attend_args& args, executor& exec) noexcept {
  HWY_DYNAMIC_DISPATCH(attend)(args, exec);
}

} // namespace pikv::gpu
#endif
