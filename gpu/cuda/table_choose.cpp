// SPDX-License-Identifier: Apache-2.0
// The kernel table's choice of pages: scores, routes and selections without the host. What is made
// here stays in the queue's memory for the attention behind it; the host gets totals, and lists
// where it asks for them.
#include <algorithm>
#include <vector>

#include <pikv/gpu/cuda/score.hpp>
#include <pikv/gpu/cuda/select.hpp>
#include <pikv/gpu/cuda/staging.hpp>
#include <pikv/gpu/cuda/table.hpp>
#include <pikv/gpu/cuda/table_rows.hpp>

namespace pikv::gpu::cuda::table {

namespace {

bool needs(const choose_args& a, score_kind kind) noexcept {
  const bool routes = a.route.kind == route_kind::mass && kind == score_kind::mass;
  return routes || (a.score == kind && kind != score_kind::none);
}

/// The scores to compute; `out` is null for kinds that nothing needs.
struct score_plan {
  score_launch mass, quest;
};

score_plan plan_scores(launch_queue& q, const choose_args& a, const attend_sequence* sequences,
                       std::size_t floats) {
  const auto bounds = bounds_of(a.sequences);
  score_launch x{a.dims, score_kind::none, a.scale, {}, sequences, bounds, nullptr};
  if (needs(a, score_kind::mass) || needs(a, score_kind::quest))
    x.q = readable(q, a.q, rows_of(a.sequences).end, a.dims.query_heads, a.dims.head_dim);
  const auto plan = [&](score_kind kind) {
    auto y = x;
    y.kind = kind;
    if (needs(a, kind))
      y.out = reinterpret_cast<float*>(q.work(floats * sizeof(float)));
    return y;
  };
  return {plan(score_kind::mass), plan(score_kind::quest)};
}

/// Gates are read many times: from the host's memory they are copied even where the GPU reaches it.
template <class T>
const T* near(launch_queue& q, const T* p, std::size_t n) {
  return p == nullptr || in_device_memory(p) ? p : q.upload(std::span{p, n});
}

select_route plan_route(launch_queue& q, const choose_args& a, const float* mass_scores) {
  select_route x{a.route.kind, a.route.k, a.shards, 0, nullptr, nullptr, mass_scores};
  if (a.route.kind != route_kind::gate_top_k || a.gate_logits == nullptr)
    return x; // no experts: no gate is known
  x.experts = a.experts;
  x.gate_logits = near(q, a.gate_logits, std::size_t{a.rows} * a.experts);
  x.gate_known = near(q, a.gate_known, a.rows);
  return x;
}

/// Which rows belong to a sequence.
std::vector<bool> owned_rows(const choose_args& a) {
  std::vector<bool> owned(a.rows, false);
  for (const auto& s : a.sequences)
    std::fill_n(owned.begin() + s.row_begin, s.row_count, true);
  return owned;
}

/// `n` numbers for kernels to write, which are `value` where the kernels do not.
std::uint32_t* filled(launch_queue& q, std::size_t n, std::uint32_t value, bool matters) {
  if (!matters)
    return reinterpret_cast<std::uint32_t*>(q.work(n * sizeof(std::uint32_t)));
  const auto x = q.stage(n * sizeof(std::uint32_t));
  std::fill_n(reinterpret_cast<std::uint32_t*>(x.host), n, value);
  return reinterpret_cast<std::uint32_t*>(x.device);
}

/// Memory for the lists. Rows of no sequence, which the kernels pass over, choose nothing, and in
/// attention read nothing behind the last page either.
void place_lists(launch_queue& q, const choose_args& a, select_launch& x) {
  const auto owned = owned_rows(a);
  const bool some_not = std::ranges::find(owned, false) != owned.end();
  const auto lists = std::size_t{a.rows} * a.scopes;
  x.lists = reinterpret_cast<std::uint32_t*>(q.work(lists * a.capacity * sizeof(std::uint32_t)));
  x.counts = filled(q, lists, 0, some_not);
  x.always_from = filled(q, a.rows, ~std::uint32_t{0}, some_not);
  x.totals = a.totals;
  for (std::size_t row = 0; a.totals != nullptr && row < a.rows; ++row)
    if (!owned[row])
      std::fill_n(a.totals + row * a.scopes, a.scopes, choice_total{});
}

compact_launch plan_compact(launch_queue& q, const choose_args& a, const select_launch& x) {
  const auto lists = a.rows * a.scopes;
  const auto numbers = [&](std::size_t n) {
    return reinterpret_cast<std::uint32_t*>(q.work(n * sizeof(std::uint32_t)));
  };
  return {lists,
          a.capacity,
          x.lists,
          x.counts,
          numbers(std::size_t{lists} + 1),
          numbers(std::size_t{lists} * a.capacity),
          a.lists};
}

/// The pages of all devices as the selection sees them, in place of this device's own.
void use_gathered(launch_queue& q, const choose_args& a, select_launch& x) {
  const auto& g = a.gathered;
  const auto layout = layout_of(a.dims, a.sequences, g.places, g.scores);
  std::vector<attend_sequence> list;
  std::vector<own_pages> own;
  x.bounds.pages = 0;
  for (std::size_t i = 0; i < a.sequences.size(); ++i) {
    const auto& s = a.sequences[i];
    const auto& place = g.places[i];
    list.push_back({reinterpret_cast<const page_view*>(g.area) + layout.pages_at(i), nullptr,
                    place.pages, 0, s.row_begin, s.row_count, s.first_position,
                    layout.scores_at(i)});
    own.push_back({place.begin, place.capacity});
    x.bounds.pages = std::max(x.bounds.pages, place.pages);
  }
  x.sequences = q.upload(std::span<const attend_sequence>{list});
  x.own = q.upload(std::span<const own_pages>{own});
  const auto scores = [&](score_kind kind) {
    return reinterpret_cast<const float*>(g.area + layout.begin_of(kind));
  };
  if (a.route.kind == route_kind::mass)
    x.route.mass_scores = scores(score_kind::mass);
  x.scores = a.score == score_kind::none ? nullptr : scores(a.score);
}

} // namespace

void choose(const choose_args& a, page_selection& out, executor& x) noexcept {
  out = {}; // what attention takes for a choice that failed
  guarded(x, [&](launch_queue& q) -> result<void> {
    const auto offsets = score_offsets(a.sequences, a.dims.query_heads);
    const auto sequences = upload(q, a.sequences, offsets);
    if (!sequences)
      return sequences.error();
    const bool gathered = a.gathered.area != nullptr;
    const auto scores = gathered ? score_plan{}
                                 : plan_scores(q, a, sequences->sequences,
                                               scores_of(a.sequences, offsets, a.dims.query_heads));
    select_launch select;
    select.dims = a.dims;
    select.sequences = sequences->sequences;
    select.bounds = bounds_of(a.sequences);
    select.rows = a.rows;
    select.window = a.window;
    select.scopes = a.scopes;
    select.route = plan_route(q, a, scores.mass.out);
    select.scores = a.score == score_kind::none   ? nullptr
                    : a.score == score_kind::mass ? scores.mass.out
                                                  : scores.quest.out;
    select.budget = a.budget;
    select.capacity = a.capacity;
    if (gathered)
      use_gathered(q, a, select);
    place_lists(q, a, select);
    select.workspace = q.work(select_workspace_bytes(select));
    const auto compact = plan_compact(q, a, select);
    if (auto r = q.flush(); !r)
      return r;
    for (const auto& score : {scores.mass, scores.quest})
      if (score.out != nullptr)
        if (auto r = cuda::score(score, q.stream()); !r)
          return r;
    if (auto r = cuda::select(select, q.stream()); !r)
      return r;
    if (auto r = cuda::compact(compact, q.stream()); !r)
      return r;
    const auto lists = std::size_t{compact.lists_count};
    out = {a.scopes,
           {compact.offsets, lists + 1},
           {compact.pages, lists * a.capacity},
           {select.always_from, a.rows}};
    q.keep(launch_queue::choice_made{compact.offsets, sequences->sequences, sequences->owned,
                                     sequences->owned_count});
    return {};
  });
}

} // namespace pikv::gpu::cuda::table
