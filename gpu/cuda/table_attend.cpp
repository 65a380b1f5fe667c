// SPDX-License-Identifier: Apache-2.0
// The kernel table's operations on queries: scores, attention, merges, masses, audits.
#include <algorithm>
#include <numeric>
#include <vector>

#include <pikv/gpu/cuda/attend.hpp>
#include <pikv/gpu/cuda/audit.hpp>
#include <pikv/gpu/cuda/cuda_device.hpp>
#include <pikv/gpu/cuda/merge.hpp>
#include <pikv/gpu/cuda/page_mass.hpp>
#include <pikv/gpu/cuda/resident_table.hpp>
#include <pikv/gpu/cuda/score.hpp>
#include <pikv/gpu/cuda/staging.hpp>
#include <pikv/gpu/cuda/table.hpp>

namespace pikv::gpu::cuda {

namespace table {

namespace {

/// The rows of a batch that its sequences use, and how many there are up to the last one.
struct used_rows {
  std::vector<row_range> ranges;
  std::uint32_t end = 0;
  std::uint32_t longest = 0;
};

used_rows rows_of(std::span<const sequence_rows> sequences) {
  used_rows x;
  for (const auto& s : sequences) {
    x.ranges.push_back({s.row_begin, s.row_count});
    x.end = std::max(x.end, s.row_begin + s.row_count);
    x.longest = std::max(x.longest, s.row_count);
  }
  return x;
}

/// Rows of the batch that belong to none of these sequences have empty lists.
attend_selection upload(launch_queue& q, const page_selection& s,
                        std::span<const sequence_rows> sequences, std::uint32_t rows) {
  std::vector<std::uint32_t> owner(rows, 0);
  for (std::uint32_t i = 0; i < sequences.size(); ++i)
    std::fill_n(owner.begin() + sequences[i].row_begin, sequences[i].row_count, i);
  return {s.scopes, q.upload(s.offsets), q.upload(s.pages), q.upload(s.always_from),
          q.upload(std::span<const std::uint32_t>{owner})};
}

/// `offsets`: of each sequence's block of scores or masses; empty where there are none.
result<const attend_sequence*> upload(launch_queue& q, std::span<const sequence_rows> sequences,
                                      std::span<const std::uint64_t> offsets) {
  std::vector<attend_sequence> list;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const auto& s = sequences[i];
    auto settled = on_device(q, s.settled);
    if (!settled)
      return settled.error();
    list.push_back({*settled, q.upload(s.window),
                    static_cast<std::uint32_t>(s.settled.size()),
                    static_cast<std::uint32_t>(s.window.size()), s.row_begin, s.row_count,
                    s.first_position, offsets.empty() ? 0 : offsets[i]});
  }
  return q.upload(std::span<const attend_sequence>{list});
}

/// Floats of the blocks `[rows, query heads, settled pages]` up to the end of the last one.
std::size_t scores_of(std::span<const sequence_rows> sequences,
                      std::span<const std::uint64_t> offsets, std::uint32_t query_heads) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i)
    n = std::max<std::size_t>(n, offsets[i]
                                     + std::size_t{sequences[i].row_count} * query_heads
                                           * sequences[i].settled.size());
  return n;
}

} // namespace

void score(const score_args& a, executor& x) noexcept {
  guarded(x, [&](launch_queue& q) -> result<void> {
    const auto rows = rows_of(a.sequences);
    settled_bounds bounds{static_cast<std::uint32_t>(a.sequences.size()), rows.longest, 0};
    for (const auto& s : a.sequences)
      bounds.pages = std::max(bounds.pages, static_cast<std::uint32_t>(s.settled.size()));
    if (rows.longest == 0 || bounds.pages == 0)
      return {};
    const auto floats = scores_of(a.sequences, a.offsets, a.dims.query_heads);
    writable_array<float> out{q, a.out, floats};
    const auto sequences = upload(q, a.sequences, a.offsets);
    if (!sequences)
      return sequences.error();
    score_launch launch{a.dims,
                        a.kind,
                        a.scale,
                        readable(q, a.q, rows.end, a.dims.query_heads, a.dims.head_dim),
                        *sequences,
                        bounds,
                        out.device()};
    if (auto r = q.flush(); !r)
      return r;
    if (auto r = cuda::score(launch, q.stream()); !r)
      return r;
    return out.bring_back();
  });
}

void attend(const attend_args& a, executor& x) noexcept {
  guarded(x, [&](launch_queue& q) -> result<void> {
    const auto rows = rows_of(a.sequences);
    if (rows.longest == 0)
      return {};
    const auto& d = a.dims;
    writable_tensor out{q, a.out, rows.end, d.query_heads, d.head_dim};
    writable_array<float> lse{q, a.lse, std::size_t{rows.end} * d.query_heads};
    const auto scores =
        a.page_lse == nullptr ? 0 : scores_of(a.sequences, a.page_lse_offsets, d.query_heads);
    writable_array<float> page_lse{q, scores == 0 ? nullptr : a.page_lse, scores};
    auto workspace = q.attend_workspace();
    if (!workspace)
      return workspace.error();
    attend_launch launch;
    launch.dims = d;
    launch.scale = a.scale;
    launch.q = readable(q, a.q, rows.end, d.query_heads, d.head_dim);
    const auto sequences = upload(q, a.sequences, a.page_lse_offsets);
    if (!sequences)
      return sequences.error();
    launch.sequences = *sequences;
    launch.sequence_count = static_cast<std::uint32_t>(a.sequences.size());
    launch.rows = rows.end;
    launch.max_sequence_rows = rows.longest;
    launch.selected = a.selection != nullptr;
    if (launch.selected)
      launch.selection = upload(q, *a.selection, a.sequences, rows.end);
    launch.out = out.device();
    launch.lse = lse.device();
    launch.page_lse = page_lse.device();
    launch.workspace = *workspace;
    if (auto r = q.flush(); !r)
      return r;
    if (auto r = cuda::attend(launch, q.stream()); !r)
      return r;
    if (auto r = out.bring_back(rows.ranges); !r)
      return r;
    for (const auto& range : rows.ranges)
      if (auto r = lse.bring_back(std::size_t{range.begin} * d.query_heads,
                                  std::size_t{range.count} * d.query_heads);
          !r && a.lse != nullptr)
        return r;
    return page_lse.bring_back();
  });
}

void merge(const merge_args& a, executor& x) noexcept {
  guarded(x, [&](launch_queue& q) -> result<void> {
    if (a.rows == 0)
      return {};
    const auto heads = std::size_t{a.rows} * a.dims.query_heads;
    std::vector<const float*> outs, lses;
    for (std::size_t i = 0; i < a.outs.size(); ++i) {
      outs.push_back(readable(q, a.outs[i], heads * a.dims.head_dim));
      lses.push_back(readable(q, a.lses[i], heads));
    }
    writable_tensor out{q, a.out, a.rows, a.dims.query_heads, a.dims.head_dim};
    writable_array<float> lse{q, a.lse, heads};
    merge_launch launch{a.dims,
                        a.rows,
                        static_cast<std::uint32_t>(outs.size()),
                        q.upload(std::span<const float* const>{outs}),
                        q.upload(std::span<const float* const>{lses}),
                        out.device(),
                        lse.device()};
    if (auto r = q.flush(); !r)
      return r;
    if (auto r = cuda::merge(launch, q.stream()); !r)
      return r;
    const row_range all{0, a.rows};
    if (auto r = out.bring_back({&all, 1}); !r)
      return r;
    return lse.bring_back();
  });
}

void page_mass(const page_mass_args& a, executor& x) noexcept {
  guarded(x, [&](launch_queue& q) -> result<void> {
    if (a.pages == 0)
      return {};
    const auto heads = std::size_t{a.rows} * a.heads;
    writable_array<float> mass{q, a.mass, a.pages};
    page_mass_args launch = a;
    launch.page_lse = readable(q, a.page_lse, heads * a.pages);
    launch.lse = readable(q, a.lse, heads);
    launch.mass = mass.device();
    auto* workspace = q.reserve(page_mass_workspace_bytes(launch));
    if (auto r = q.flush(); !r)
      return r;
    if (auto r = cuda::page_mass(launch, workspace, q.stream()); !r)
      return r;
    if (auto r = mass.bring_back(); !r)
      return r;
    return q.wait(); // the caller reads it next, wherever it lies
  });
}

void audit(const audit_args& a, executor& x) noexcept {
  guarded(x, [&](launch_queue& q) -> result<void> {
    const auto& d = a.dims;
    const auto heads = std::size_t{a.rows} * d.query_heads;
    writable_array<double> coverage{q, a.coverage, 1}, output_error{q, a.output_error, 1};
    audit_args launch = a;
    launch.out = readable(q, a.out, a.rows, d.query_heads, d.head_dim);
    launch.lse = readable(q, a.lse, heads);
    launch.full_out = readable(q, a.full_out, heads * d.head_dim);
    launch.full_lse = readable(q, a.full_lse, heads);
    launch.coverage = coverage.device();
    launch.output_error = output_error.device();
    auto* workspace = q.reserve(audit_workspace_bytes());
    if (auto r = q.flush(); !r)
      return r;
    if (auto r = cuda::audit(launch, workspace, q.stream()); !r)
      return r;
    if (auto r = coverage.bring_back(); !r)
      return r;
    if (auto r = output_error.bring_back(); !r)
      return r;
    return q.wait();
  });
}

} // namespace table

const kernel_table& cuda_kernels() noexcept {
  static constexpr kernel_table all{
      .append = table::append,
      .summarise = table::summarise,
      .encode = table::encode,
      .decode = table::decode,
      .score = table::score,
      .attend = table::attend,
      .merge = table::merge,
      .page_mass = table::page_mass,
      .audit = table::audit,
      .copy = table::copy,
      .checksum = table::checksum,
  };
  return all;
}

} // namespace pikv::gpu::cuda
