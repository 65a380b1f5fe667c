// SPDX-License-Identifier: Apache-2.0
// The kernel table's operations on queries: scores, attention, merges, masses, audits.
#include <algorithm>
#include <vector>

#include <pikv/gpu/cuda/attend.hpp>
#include <pikv/gpu/cuda/audit.hpp>
#include <pikv/gpu/cuda/cuda_device.hpp>
#include <pikv/gpu/cuda/merge.hpp>
#include <pikv/gpu/cuda/page_mass.hpp>
#include <pikv/gpu/cuda/score.hpp>
#include <pikv/gpu/cuda/staging.hpp>
#include <pikv/gpu/cuda/table.hpp>
#include <pikv/gpu/cuda/table_rows.hpp>

namespace pikv::gpu::cuda {

namespace table {

namespace {

/// Says which rows a launch has and what they read. Rows of the batch that belong to none of the
/// sequences have empty lists. A selection that `choose` made is used where it lies; one of the
/// host is copied even where the GPU reaches it, because every block of an attention reads it, and
/// the bus is far.
result<void> describe(launch_queue& q, const attend_args& a, attend_launch& launch) {
  launch.selected = a.selection != nullptr;
  const auto& made = q.choice();
  const bool chosen = launch.selected && a.selection->offsets.data() == made.offsets;
  uploaded_rows rows{made.sequences, made.rows, made.row_count};
  if (!chosen || a.page_lse != nullptr) {
    auto x = upload(q, a.sequences, a.page_lse_offsets);
    if (!x)
      return x.error();
    rows = *x;
  }
  launch.sequences = rows.sequences;
  if (!launch.selected)
    return {};
  const auto& s = *a.selection;
  const auto near = [&](std::span<const std::uint32_t> x) {
    return chosen ? x.data() : q.upload(x);
  };
  launch.selection = {s.scopes,   near(s.offsets), near(s.pages), near(s.always_from),
                      rows.owned, rows.owned_count};
  return {};
}

} // namespace

void score(const score_args& a, executor& x) noexcept {
  guarded(x, [&](launch_queue& q) -> result<void> {
    const auto rows = rows_of(a.sequences);
    const auto bounds = bounds_of(a.sequences);
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
                        sequences->sequences,
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
    if (a.selection != nullptr && a.selection->offsets.empty())
      return {}; // it could not be made: the task has failed already
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
    if (auto r = describe(q, a, launch); !r)
      return r;
    launch.sequence_count = static_cast<std::uint32_t>(a.sequences.size());
    launch.rows = rows.end;
    launch.max_sequence_rows = rows.longest;
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
    auto* workspace = q.work(page_mass_workspace_bytes(launch));
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
    auto* workspace = q.work(audit_workspace_bytes());
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
      .share = table::share,
      .choose = table::choose,
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
