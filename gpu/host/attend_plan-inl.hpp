// SPDX-License-Identifier: Apache-2.0
// How one attend is cut into parts for the threads, and which pages each part reads. Compiled once
// per target.
#if defined(PIKV_GPU_HOST_ATTEND_PLAN_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef PIKV_GPU_HOST_ATTEND_PLAN_INL
#undef PIKV_GPU_HOST_ATTEND_PLAN_INL
#else
#define PIKV_GPU_HOST_ATTEND_PLAN_INL
#endif

#include <algorithm>
#include <span>

#include <pikv/gpu/host/attend_block-inl.hpp>

HWY_BEFORE_NAMESPACE();
namespace pikv::gpu::HWY_NAMESPACE {

/// How one attend is cut into parts: (sequence, KV head, tile of rows, chunk of the page list).
struct attend_plan {
  const attend_args& args;
  page_layout layouts[form_count];
  std::size_t tile_rows = 1;
  std::size_t tiles = 1;     ///< of the longest sequence
  std::size_t chunks = 1;    ///< more than one only where parts are too few for the threads
  float* partials = nullptr; ///< `[part, tile_rows * group, head_dim + 2]`; unused if chunks is 1

  std::size_t dim() const { return args.dims.head_dim; }
  std::size_t groups() const { return args.sequences.size() * args.dims.kv_heads * tiles; }
  std::size_t partial_row_floats() const { return dim() + 2; }
  float* partial(std::size_t part) const {
    return partials + part * tile_rows * args.dims.group() * partial_row_floats();
  }
};

/// The pages that a row reads, in order: its list, the settled pages it always reads, the window.
struct page_source {
  const sequence_rows& seq;
  std::span<const std::uint32_t> list;
  std::size_t always_from = 0;

  std::size_t size() const {
    return list.size() + seq.settled.size() - always_from + seq.window.size();
  }
  pending_page at(std::size_t i) const {
    if (i < list.size())
      return {&seq.settled[list[i]], list[i]};
    const std::size_t settled = i - list.size() + always_from;
    if (settled < seq.settled.size())
      return {&seq.settled[settled], static_cast<std::uint32_t>(settled)};
    return {&seq.window[settled - seq.settled.size()], not_settled};
  }
};

inline page_source source_of(const attend_args& a, const sequence_rows& seq, std::size_t row,
                             std::size_t kv_head) {
  if (a.selection == nullptr)
    return {seq, {}, 0};
  const page_selection& s = *a.selection;
  const std::size_t batch_row = seq.row_begin + row;
  const std::size_t always = std::min<std::size_t>(s.always_from[batch_row], seq.settled.size());
  const std::size_t scope = batch_row * s.scopes + (s.scopes == 1 ? 0 : kv_head);
  auto list = s.pages.subspan(s.offsets[scope], s.offsets[scope + 1] - s.offsets[scope]);
  const auto end = std::lower_bound(list.begin(), list.end(), always);
  return {seq, list.first(static_cast<std::size_t>(end - list.begin())), always};
}

/// The rows of part `group` = (sequence, KV head, tile); no rows for tiles beyond a short sequence.
inline tile tile_of(const attend_plan& plan, std::size_t group) {
  const attend_args& a = plan.args;
  const std::size_t s = group / (plan.tiles * a.dims.kv_heads);
  tile t;
  t.sequence = &a.sequences[s];
  t.kv_head = group / plan.tiles % a.dims.kv_heads;
  t.row = group % plan.tiles * plan.tile_rows;
  const std::size_t count = t.sequence->row_count;
  t.rows = t.row < count ? std::min(plan.tile_rows, count - t.row) : 0;
  if (a.page_lse != nullptr)
    t.page_lse = a.page_lse + a.page_lse_offsets[s];
  return t;
}

inline void set_shape(const cache_dims& dims, tile& t) {
  t.query_rows = t.rows * dims.group();
  t.pack = t.query_rows > 2 ? 4 : t.query_rows;
  const bool narrow = full_lanes < 16 || dims.head_dim % 64 != 0;
  t.step = t.query_rows > direct_rows && full_lanes == 16 && narrow ? 8 : t.pack;
}

/// Cuts page lists where there are fewer parts than keep the threads evenly busy.
inline void choose_chunks(attend_plan& plan, std::size_t threads) {
  constexpr std::size_t min_tokens = 1024; // below this a part is not worth its merge
  std::size_t pages = 0;
  for (const sequence_rows& s : plan.args.sequences)
    pages = std::max(pages, s.settled.size() + s.window.size());
  if (threads > 1 && plan.groups() < 4 * threads)
    plan.chunks = std::clamp<std::size_t>(pages * plan.args.dims.page_tokens / min_tokens, 1,
                                          (4 * threads + plan.groups() - 1) / plan.groups());
}

} // namespace pikv::gpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
