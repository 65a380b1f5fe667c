// SPDX-License-Identifier: Apache-2.0
// From queries to page lists, and the reductions after attention. 32 query heads, 8 KV heads, 128
// channels, pages of 16.
#include <cmath>

#include <fmt/format.h>

#include <pikv/gpu/cuda/audit.hpp>
#include <pikv/gpu/cuda/merge.hpp>
#include <pikv/gpu/cuda/page_mass.hpp>
#include <pikv/gpu/cuda/score.hpp>
#include <pikv/gpu/cuda/select.hpp>

#include "cases.hpp"
#include "timing.hpp"

namespace pikv::bench {
namespace {

constexpr gpu::cache_dims dims{32, 8, 128, 16};
constexpr std::uint32_t shards = 8;
constexpr std::uint32_t budget = 128; ///< pages: 2,048 tokens

/// One decode step's inputs: a row of each sequence and the summaries of its pages.
struct step {
  device_bytes summaries, q;
  std::vector<device_bytes> tables;
  device_bytes sequences, scores, lists, counts, always, offsets, pages, workspace;
  std::uint32_t route_capacity; ///< pages of a list without selection
  device_bytes gates, route_lists, route_pages;
  gpu::cuda::score_launch score;
  gpu::cuda::select_launch select;
  gpu::cuda::compact_launch compact;

  step(std::uint32_t n, std::uint32_t count, gpu::score_kind kind)
      : summaries(std::size_t{n} * count * bytes_of(kind)), q(n * 32 * 128 * 2),
        tables(make_tables(n, count, kind)),
        sequences(std::span<const gpu::cuda::attend_sequence>(make_sequences(n, count))),
        scores(std::size_t{n} * 32 * count * 4), lists(std::size_t{n} * 8 * budget * 4),
        counts(n * 8 * 4), always(n * 4), offsets(n * 8 * 4 + 4),
        pages(std::size_t{n} * 8 * budget * 4), workspace(std::size_t{n} * 8 * shards * 8),
        route_capacity(count), gates(std::span<const float>(logits(n))),
        route_lists(std::size_t{n} * count * 4), route_pages(std::size_t{n} * count * 4) {
    score = {dims,
             kind,
             1 / std::sqrt(128.0F),
             {q.data(), dtype::f16, 4096, 128},
             sequences.as<gpu::cuda::attend_sequence>(),
             {n, 1, count},
             scores.as<float>()};
    select.dims = dims;
    select.sequences = score.sequences;
    select.bounds = score.bounds;
    select.rows = n;
    select.window = 128;
    select.scopes = 8;
    select.scores = score.out;
    select.budget.pages = budget;
    select.capacity = budget;
    select.lists = lists.as<std::uint32_t>();
    select.counts = counts.as<std::uint32_t>();
    select.always_from = always.as<std::uint32_t>();
    select.workspace = workspace.data();
    select.route.shards = shards;
    select.route.mass_scores = score.out;
    compact = {n * 8,
               budget,
               select.lists,
               select.counts,
               offsets.as<std::uint32_t>(),
               pages.as<std::uint32_t>()};
  }

  static std::size_t bytes_of(gpu::score_kind kind) {
    return gpu::summary_layout_of(dims, part_of(kind)).bytes;
  }
  static std::uint8_t part_of(gpu::score_kind kind) {
    return kind == gpu::score_kind::mass ? gpu::summary_mean_var : gpu::summary_min_max;
  }

  static std::vector<float> logits(std::uint32_t n) {
    std::vector<float> x(std::size_t{n} * shards);
    for (std::size_t i = 0; i < x.size(); ++i)
      x[i] = static_cast<float>(i * 7919 % 101) / 50;
    return x;
  }
  std::vector<device_bytes> make_tables(std::uint32_t n, std::uint32_t count,
                                        gpu::score_kind kind) const {
    std::vector<device_bytes> x;
    for (std::uint32_t s = 0; s < n; ++s) {
      std::vector<gpu::page_view> views(count);
      for (std::uint32_t i = 0; i < count; ++i) {
        views[i].data = summaries.data(); // only tells that the page is there
        views[i].summary = summaries.data() + (std::size_t{s} * count + i) * bytes_of(kind);
        views[i].first_position = i * 16;
        views[i].tokens = 16;
        views[i].stored = form::f16;
        views[i].summary_parts = part_of(kind);
        views[i].shard = {i % shards};
      }
      x.emplace_back(std::span<const gpu::page_view>(views));
    }
    return x;
  }
  std::vector<gpu::cuda::attend_sequence> make_sequences(std::uint32_t n, std::uint32_t count) {
    std::vector<gpu::cuda::attend_sequence> x(n);
    for (std::uint32_t s = 0; s < n; ++s) {
      x[s].settled = tables[s].as<gpu::page_view>();
      x[s].settled_count = count;
      x[s].row_begin = s;
      x[s].row_count = 1;
      x[s].first_position = count * 16 + 128;
      x[s].page_lse_offset = std::size_t{s} * 32 * count;
    }
    return x;
  }
};

void select_case(std::uint32_t n, std::uint32_t count, gpu::score_kind kind, const char* name) {
  std::vector<step> steps;
  const std::size_t bytes = std::size_t{n} * count * step::bytes_of(kind);
  const std::size_t sets = bytes > (std::size_t{48} << 20) ? 3 : 8;
  for (std::size_t i = 0; i < sets; ++i)
    steps.emplace_back(n, count, kind);
  const double copy = copy_us(bytes);
  const std::string shape = fmt::format("{} x {} pages", n, count);
  const auto time = [&](const std::string& kernel, double moved, auto&& launch) {
    report({kernel, shape,
            median_us(24, 15,
                      [&](int i, cudaStream_t stream) {
                        launch(steps[static_cast<std::size_t>(i) % sets], stream);
                      }),
            moved, copy});
  };
  const auto moved = static_cast<double>(bytes);
  time(fmt::format("score {}", name), moved,
       [](step& x, cudaStream_t stream) { must(gpu::cuda::score(x.score, stream)); });
  time("select", moved,
       [](step& x, cudaStream_t stream) { must(gpu::cuda::select(x.select, stream)); });
  time("score+select", moved, [](step& x, cudaStream_t stream) {
    must(gpu::cuda::score(x.score, stream));
    must(gpu::cuda::select(x.select, stream));
  });
  time("score+select+compact", moved, [](step& x, cudaStream_t stream) {
    must(gpu::cuda::score(x.score, stream));
    must(gpu::cuda::select(x.select, stream));
    must(gpu::cuda::compact(x.compact, stream));
  });
  time("score+select, all heads alike", moved, [](step& x, cudaStream_t stream) {
    auto shared = x.select;
    shared.scopes = 1;
    must(gpu::cuda::score(x.score, stream));
    must(gpu::cuda::select(shared, stream));
  });
  if (kind != gpu::score_kind::mass)
    return;
  // Without scores: every page of the shards that the gate leads to.
  time("route by gate+lists+compact", 0, [](step& x, cudaStream_t stream) {
    auto routed = x.select;
    routed.scopes = 1;
    routed.scores = nullptr;
    routed.capacity = x.route_capacity;
    routed.lists = x.route_lists.as<std::uint32_t>();
    routed.route.kind = route_kind::gate_top_k;
    routed.route.k = 2;
    routed.route.experts = shards;
    routed.route.gate_logits = x.gates.as<float>();
    must(gpu::cuda::select(routed, stream));
    auto lists = x.compact;
    lists.lists_count = routed.rows;
    lists.capacity = routed.capacity;
    lists.lists = routed.lists;
    lists.pages = x.route_pages.as<std::uint32_t>();
    must(gpu::cuda::compact(lists, stream));
  });
  time("score+route+select", moved, [](step& x, cudaStream_t stream) {
    auto routed = x.select;
    routed.route.kind = route_kind::mass;
    routed.route.k = 2;
    must(gpu::cuda::score(x.score, stream));
    must(gpu::cuda::select(routed, stream));
  });
}

void merge_case(std::uint32_t rows, std::uint32_t partials) {
  const std::size_t n = std::size_t{rows} * 32;
  const device_bytes memory(partials * n * 129 * 4), out(n * 128 * 2), lse(n * 4);
  std::vector<const float*> outs, lses;
  for (std::uint32_t p = 0; p < partials; ++p) {
    outs.push_back(memory.as<float>() + p * n * 128);
    lses.push_back(memory.as<float>() + partials * n * 128 + p * n);
  }
  const device_bytes a{std::span<const float*const>(outs)}, b{std::span<const float*const>(lses)};
  const double us = median_us(20, 15, [&](int, cudaStream_t stream) {
    must(gpu::cuda::merge({dims,
                           rows,
                           partials,
                           a.as<const float*>(),
                           b.as<const float*>(),
                           {out.data(), dtype::f16, 4096, 128},
                           lse.as<float>()},
                          stream));
  });
  const double bytes = static_cast<double>(n) * (partials * 129.0 * 4 + 128 * 2 + 4);
  report({"merge", fmt::format("{} rows, {} partials", rows, partials), us, bytes,
          copy_us(static_cast<std::size_t>(bytes))});
}

void reductions_case(std::uint32_t rows, std::uint32_t pages) {
  const std::size_t n = std::size_t{rows} * 32;
  const device_bytes page_lse(n * pages * 4), lse(n * 4), mass(pages * 4), out(n * 128 * 2),
      full(n * 128 * 4), full_lse(n * 4), results(16),
      workspace(gpu::cuda::audit_workspace_bytes());
  const gpu::page_mass_args args{
      rows, 32, pages, page_lse.as<float>(), lse.as<float>(), mass.as<float>()};
  const device_bytes parts(gpu::cuda::page_mass_workspace_bytes(args) + 16);
  const double mass_us = median_us(20, 15, [&](int, cudaStream_t stream) {
    must(gpu::cuda::page_mass(args, parts.data(), stream));
  });
  const double mass_bytes = static_cast<double>(n) * pages * 4;
  const std::string shape = fmt::format("{} rows, {} pages", rows, pages);
  report({"page_mass", shape, mass_us, mass_bytes, copy_us(static_cast<std::size_t>(mass_bytes))});
  const double audit_us = median_us(20, 15, [&](int, cudaStream_t stream) {
    must(gpu::cuda::audit({dims,
                           rows,
                           {out.data(), dtype::f16, 4096, 128},
                           lse.as<float>(),
                           full.as<float>(),
                           full_lse.as<float>(),
                           results.as<double>(),
                           results.as<double>(8)},
                          workspace.data(), stream));
  });
  const double audit_bytes = static_cast<double>(n) * 128 * 6;
  report({"audit", shape, audit_us, audit_bytes, copy_us(static_cast<std::size_t>(audit_bytes))});
}

} // namespace

void bench_select() {
  select_case(8, 2048, gpu::score_kind::mass, "mass");
  select_case(8, 2048, gpu::score_kind::quest, "quest");
  select_case(1, 8192, gpu::score_kind::mass, "mass");
  select_case(8, 256, gpu::score_kind::mass, "mass");
}

void bench_reductions() {
  merge_case(8, 8);
  merge_case(512, 8);
  reductions_case(8, 2048);
  reductions_case(256, 2048);
}

} // namespace pikv::bench
