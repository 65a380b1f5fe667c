// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/table_rows.hpp>

#include <algorithm>

#include <pikv/gpu/cuda/resident_table.hpp>

namespace pikv::gpu::cuda::table {

used_rows rows_of(std::span<const sequence_rows> sequences) {
  used_rows x;
  for (const auto& s : sequences) {
    x.ranges.push_back({s.row_begin, s.row_count});
    x.end = std::max(x.end, s.row_begin + s.row_count);
    x.longest = std::max(x.longest, s.row_count);
  }
  return x;
}

settled_bounds bounds_of(std::span<const sequence_rows> sequences) {
  settled_bounds x{static_cast<std::uint32_t>(sequences.size()), 0, 0};
  for (const auto& s : sequences) {
    x.rows = std::max(x.rows, s.row_count);
    x.pages = std::max(x.pages, static_cast<std::uint32_t>(s.settled.size()));
  }
  return x;
}

result<uploaded_rows> upload(launch_queue& q, std::span<const sequence_rows> sequences,
                             std::span<const std::uint64_t> offsets) {
  std::vector<attend_row> owned;
  for (std::uint32_t i = 0; i < sequences.size(); ++i)
    for (std::uint32_t r = 0; r < sequences[i].row_count; ++r)
      owned.push_back({sequences[i].row_begin + r, i});
  std::vector<attend_sequence> list;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const auto& s = sequences[i];
    auto settled = on_device(q, s.settled);
    if (!settled)
      return settled.error();
    list.push_back({*settled, q.upload(s.window), static_cast<std::uint32_t>(s.settled.size()),
                    static_cast<std::uint32_t>(s.window.size()), s.row_begin, s.row_count,
                    s.first_position, offsets.empty() ? 0 : offsets[i]});
  }
  return uploaded_rows{q.upload(std::span<const attend_sequence>{list}),
                       q.upload(std::span<const attend_row>{owned}),
                       static_cast<std::uint32_t>(owned.size())};
}

std::vector<std::uint64_t> score_offsets(std::span<const sequence_rows> sequences,
                                         std::uint32_t query_heads) {
  std::vector<std::uint64_t> offsets;
  std::uint64_t next = 0;
  for (const auto& s : sequences) {
    offsets.push_back(next);
    next += std::uint64_t{s.row_count} * query_heads * s.settled.size();
  }
  return offsets;
}

std::size_t scores_of(std::span<const sequence_rows> sequences,
                      std::span<const std::uint64_t> offsets, std::uint32_t query_heads) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i)
    n = std::max<std::size_t>(n, offsets[i]
                                     + std::size_t{sequences[i].row_count} * query_heads
                                           * sequences[i].settled.size());
  return n;
}

gather_layout layout_of(const cache_dims& dims, std::span<const sequence_rows> sequences,
                        std::span<const gather_place> places, std::uint8_t scores) {
  std::vector<std::uint32_t> rows;
  for (const auto& s : sequences)
    rows.push_back(s.row_count);
  return {dims, places, rows, scores};
}

} // namespace pikv::gpu::cuda::table
