// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/shard_owner/always_read.hpp>

#include <algorithm>
#include <limits>

#include <pikv/actors/shard_owner/choosing.hpp>

namespace pikv {

namespace {

/// The first settled page that a query at `position` reads in any case: the old ones are a prefix.
std::uint32_t first_young(const gpu::page_list& pages, const page_geometry& geometry,
                          std::uint32_t position) {
  const auto it = std::ranges::partition_point(pages.views, [&](const gpu::page_view& v) {
    return geometry.is_old(v.first_position, v.tokens, position);
  });
  return static_cast<std::uint32_t>(it - pages.views.begin());
}

} // namespace

result<void> always_read::prepare(gpu::arena& scratch, const gpu::cache_dims& dims,
                                  std::uint32_t batch_rows,
                                  std::span<const gpu::sequence_rows> rows,
                                  const page_geometry& geometry) {
  batch_rows_ = batch_rows;
  const auto heads = std::size_t{batch_rows} * dims.query_heads;
  for (auto [block, bytes] :
       {std::pair{&lists_, (std::size_t{2} * batch_rows + 1) * sizeof(std::uint32_t)},
        std::pair{&out_, heads * dims.head_dim * sizeof(float)},
        std::pair{&lse_, heads * sizeof(float)}}) {
    auto made = scratch.allocate(bytes);
    if (!made)
      return made.error();
    *block = std::move(*made);
  }
  auto* always_from = reinterpret_cast<std::uint32_t*>(lists_.data());
  std::fill_n(always_from, std::size_t{2} * batch_rows + 1, 0U); // empty lists behind it
  for (const auto& r : rows)
    for (std::uint32_t i = 0; i < r.row_count; ++i)
      always_from[r.row_begin + i] = first_young(r.settled, geometry, r.first_position + i);
  return {};
}

void always_read::run(const gpu::kernel_table& kernels, const gpu::cache_dims& dims, float scale,
                      const gpu::tensor_ref& q, std::span<const gpu::sequence_rows> rows,
                      gpu::executor& x) {
  auto* lse = reinterpret_cast<float*>(lse_.data());
  std::fill_n(lse, std::size_t{batch_rows_} * dims.query_heads,
              -std::numeric_limits<float>::infinity());
  const auto nothing_else = parse_selection(batch_rows_, 1, lists_);
  gpu::attend_args args;
  args.dims = dims;
  args.scale = scale;
  args.q = q;
  args.sequences = rows;
  args.selection = &nothing_else;
  args.out = {out_.data(), dtype::f32, std::uint64_t{dims.query_heads} * dims.head_dim,
              dims.head_dim};
  args.lse = lse;
  kernels.attend(args, x);
}

} // namespace pikv
