// SPDX-License-Identifier: Apache-2.0
// The kernel table's half of a choice over several devices that each device does for itself: it
// scores its own pages and shows them to the others.
#include <algorithm>
#include <vector>

#include <pikv/gpu/cuda/score.hpp>
#include <pikv/gpu/cuda/share.hpp>
#include <pikv/gpu/cuda/staging.hpp>
#include <pikv/gpu/cuda/table.hpp>
#include <pikv/gpu/cuda/table_rows.hpp>
#include <pikv/gpu/gather.hpp>

namespace pikv::gpu::cuda::table {

namespace {

constexpr score_kind kinds[] = {score_kind::mass, score_kind::quest};

std::vector<share_sequence> places_of(const share_args& a, const gather_layout& layout) {
  std::vector<share_sequence> places;
  for (std::size_t i = 0; i < a.places.size(); ++i)
    places.push_back({a.places[i], layout.pages_at(i), layout.scores_at(i)});
  return places;
}

result<void> check_share(const share_args& a) {
  if (a.places.size() != a.sequences.size() || a.areas.size() > share_most_areas)
    return {errc::internal, "share: places or areas do not fit"};
  for (std::size_t i = 0; i < a.places.size(); ++i)
    if (a.sequences[i].settled.size() > a.places[i].capacity)
      return {errc::internal, "share: a device has more pages than places"};
  return {};
}

} // namespace

void share(const share_args& a, executor& x) noexcept {
  guarded(x, [&](launch_queue& q) -> result<void> {
    if (auto ok = check_share(a); !ok)
      return ok;
    const auto layout = layout_of(a.dims, a.sequences, a.places, a.scores);
    const auto offsets = score_offsets(a.sequences, a.dims.query_heads);
    const auto sequences = upload(q, a.sequences, offsets);
    if (!sequences)
      return sequences.error();
    score_launch score{a.dims, score_kind::none,     a.scale,
                       {},     sequences->sequences, bounds_of(a.sequences),
                       nullptr};
    const bool scores = a.scores != 0 && score.bounds.pages > 0;
    if (scores)
      score.q = readable(q, a.q, rows_of(a.sequences).end, a.dims.query_heads, a.dims.head_dim);
    share_launch launch;
    launch.dims = a.dims;
    launch.sequences = sequences->sequences;
    launch.places = q.upload(std::span<const share_sequence>{places_of(a, layout)});
    launch.bounds = score.bounds;
    launch.bounds.pages = 0;
    for (const auto& p : a.places)
      launch.bounds.pages = std::max(launch.bounds.pages, p.capacity);
    launch.window = a.window;
    std::ranges::copy(a.areas, launch.areas);
    launch.area_count = static_cast<std::uint32_t>(a.areas.size());
    const auto floats = scores_of(a.sequences, offsets, a.dims.query_heads);
    float* out[2] = {};
    for (int i = 0; i < 2; ++i) {
      if ((a.scores & 1U << static_cast<unsigned>(kinds[i])) == 0)
        continue;
      out[i] = reinterpret_cast<float*>(q.work(std::max<std::size_t>(floats, 1) * sizeof(float)));
      launch.scores[i] = out[i];
      launch.scores_begin[i] = layout.begin_of(kinds[i]);
    }
    if (auto r = q.flush(); !r)
      return r;
    for (int i = 0; i < 2; ++i) {
      score.kind = kinds[i];
      score.out = out[i];
      if (out[i] != nullptr && scores)
        if (auto r = cuda::score(score, q.stream()); !r)
          return r;
    }
    return cuda::share(launch, q.stream());
  });
}

} // namespace pikv::gpu::cuda::table
