// SPDX-License-Identifier: Apache-2.0
/// \file
/// Random selections and their reference, written from the contracts of policies/routing and
/// policies/selection in float64. Where shares are equal the choice must be too; where they differ
/// by less than rounding, either page may be chosen.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include <pikv/gpu/cuda/select.hpp>

#include "gpu/cuda/device_fixture.hpp"

namespace pikv::test {

struct select_options {
  gpu::cache_dims dims{8, 2, 32, 16};
  std::uint32_t sequences = 3, max_pages = 300, max_rows = 3;
  std::uint32_t scopes = 2, window = 40;
  std::uint32_t levels = 0; ///< scores take one of so many values; 0: any
  bool scored = true, gone = true;
  select_budget budget{};
  route_kind route = route_kind::all;
  std::uint32_t k = 2, shards = 8, experts = 12;
  std::uint32_t capacity = 400;
};

struct select_problem {
  select_options o;
  std::vector<std::vector<gpu::page_view>> pages;
  std::vector<gpu::cuda::attend_sequence> sequences; ///< with host tables
  std::vector<float> scores, mass, gates;
  std::vector<std::uint8_t> known;
  std::uint32_t rows = 0, max_rows = 0, max_pages = 0;
};

inline float random_score(std::mt19937_64& rng, const select_options& o) {
  if (o.levels > 0)
    return 0.5F * static_cast<float>(between(rng, 0, o.levels - 1));
  return std::normal_distribution<float>(0, 3)(rng);
}

inline select_problem make_problem(const select_options& o, std::uint64_t seed) {
  std::mt19937_64 rng(seed);
  select_problem p{
      .o = o, .pages = {}, .sequences = {}, .scores = {}, .mass = {}, .gates = {}, .known = {}};
  for (std::uint32_t s = 0; s < o.sequences; ++s) {
    auto& pages = p.pages.emplace_back();
    const std::uint32_t n = between(rng, s == 0 ? o.max_pages : 0, o.max_pages);
    for (std::uint32_t i = 0; i < n; ++i) {
      gpu::page_view v;
      v.data = o.gone && between(rng, 0, 7) == 0 ? nullptr : reinterpret_cast<std::byte*>(64);
      v.first_position = 4 + i * o.dims.page_tokens;
      v.tokens = static_cast<std::uint16_t>(o.dims.page_tokens - (i % 7 == 3 ? i % 5 : 0));
      v.shard = {between(rng, 0, o.shards - 1) % 5}; // some shards stay empty
      pages.push_back(v);
    }
    gpu::cuda::attend_sequence x;
    x.settled_count = n;
    x.row_begin = p.rows;
    x.row_count = between(rng, 1, o.max_rows);
    x.first_position = 4 + n * o.dims.page_tokens + between(rng, 0, 20);
    x.page_lse_offset = p.scores.size();
    for (std::uint32_t i = 0; i < x.row_count * o.dims.query_heads * n; ++i) {
      const bool gone = pages[i % n].data == nullptr;
      p.scores.push_back(gone ? -INFINITY : random_score(rng, o));
      p.mass.push_back(gone ? -INFINITY : random_score(rng, o));
    }
    p.rows += x.row_count;
    p.max_rows = std::max(p.max_rows, x.row_count);
    p.max_pages = std::max(p.max_pages, n);
    p.sequences.push_back(x);
  }
  for (std::uint32_t i = 0; i < p.rows * o.experts; ++i)
    p.gates.push_back(0.25F * static_cast<float>(between(rng, 0, 8))); // many are equal
  for (std::uint32_t i = 0; i < p.rows; ++i)
    p.known.push_back(between(rng, 0, 4) > 0 ? 1 : 0);
  return p;
}

// -- reference ----------------------------------------------------------------------------------

inline std::vector<double> mean_shares(const float* scores, std::size_t heads, std::size_t stride,
                                       std::size_t pages) {
  std::vector<double> shares(pages, 0.0);
  if (pages == 0)
    return shares;
  for (std::size_t h = 0; h < heads; ++h) {
    const float* row = scores + h * stride;
    const double top = *std::max_element(row, row + pages);
    if (std::isinf(top))
      continue;
    double sum = 0;
    for (std::size_t i = 0; i < pages; ++i)
      sum += std::exp(row[i] - top);
    for (std::size_t i = 0; i < pages; ++i)
      shares[i] += std::exp(row[i] - top) / sum / static_cast<double>(heads);
  }
  return shares;
}

/// Indices from the largest value to the smallest, lower ones first among equals.
template <class T>
std::vector<std::size_t> descending(const std::vector<T>& x) {
  std::vector<std::size_t> order(x.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return x[a] > x[b]; });
  return order;
}

struct row_plan {
  std::size_t old = 0, kept = 0;
  std::vector<bool> allowed;            ///< of the old pages
  std::uint32_t shards = 0, tokens = 0; ///< in the route
};

inline row_plan plan_row(const select_problem& p, std::size_t s, std::uint32_t row) {
  const select_options& o = p.o;
  const auto& x = p.sequences[s];
  const auto& pages = p.pages[s];
  row_plan r;
  while (r.old < pages.size()
         && std::uint64_t{pages[r.old].first_position} + pages[r.old].tokens + o.window
                <= std::uint64_t{x.first_position} + row + 1)
    ++r.old;
  std::vector<bool> in(o.shards, o.route == route_kind::all);
  std::vector<std::size_t> count(o.shards, 0);
  std::vector<double> mass(o.shards, 0.0);
  const auto shares =
      mean_shares(p.mass.data() + x.page_lse_offset + row * o.dims.query_heads * pages.size(),
                  o.dims.query_heads, pages.size(), r.old);
  for (std::size_t i = 0; i < r.old; ++i)
    if (pages[i].data != nullptr) {
      ++r.kept;
      ++count[pages[i].shard.value];
      mass[pages[i].shard.value] += shares[i];
    }
  if (o.route == route_kind::mass) {
    std::size_t routed = 0;
    for (const auto shard : descending(mass))
      if (routed < o.k && count[shard] > 0) {
        in[shard] = true;
        ++routed;
      }
  } else if (o.route == route_kind::gate_top_k && p.known[x.row_begin + row] == 0) {
    in.assign(o.shards, true);
  } else if (o.route == route_kind::gate_top_k) {
    const float* gates = p.gates.data() + (x.row_begin + row) * o.experts;
    bool reads = false;
    std::size_t i = 0;
    for (const auto expert : descending(std::vector<float>(gates, gates + o.experts))) {
      const auto shard = expert % o.shards;
      if (i < o.k || (!reads && count[shard] > 0))
        in[shard] = true;
      reads = reads || (in[shard] && count[shard] > 0);
      ++i;
    }
    for (std::size_t shard = 0; !reads && shard < o.shards; ++shard)
      if (count[shard] > 0)
        reads = in[shard] = true;
  }
  for (std::size_t i = 0; i < r.old; ++i) {
    r.allowed.push_back(pages[i].data != nullptr && in[pages[i].shard.value]);
    r.tokens += r.allowed.back() ? pages[i].tokens : 0U;
  }
  r.shards = static_cast<std::uint32_t>(std::count(in.begin(), in.end(), true));
  return r;
}

inline std::size_t wanted_of(const select_options& o, const row_plan& r) {
  const auto may = static_cast<std::size_t>(std::count(r.allowed.begin(), r.allowed.end(), true));
  std::size_t n = may;
  if (o.scored && o.budget.pages > 0)
    n = std::min<std::size_t>(o.budget.pages, r.kept);
  else if (o.scored && r.kept > 0)
    n = std::clamp<std::size_t>(static_cast<std::size_t>(std::ceil(
                                    o.budget.share * static_cast<double>(r.kept) * (1 - 1e-9))),
                                1, r.kept);
  return std::min({n, may, std::size_t{o.capacity}});
}

/// What a list's totals must be.
inline void expect_total(const select_problem& p, std::size_t s, const row_plan& r,
                         const std::vector<std::uint32_t>& list, const choice_total& total) {
  std::uint32_t tokens = 0;
  for (const auto i : list)
    tokens += p.pages[s][i].tokens;
  EXPECT_EQ(total.pages, list.size());
  EXPECT_EQ(total.tokens, tokens);
  EXPECT_EQ(total.routed_tokens, r.tokens);
  EXPECT_EQ(total.routed_shards, r.shards);
}

/// How far shares of the same scores may be apart, of themselves.
inline constexpr double rounding = 1e-5;

/// `slack`: how far the shares here may be from those that were ranked; beyond `rounding` the
/// scores are not the same, and ties need not be.
inline void expect_list(const select_problem& p, std::size_t s, std::uint32_t row,
                        std::uint32_t scope, const row_plan& r,
                        const std::vector<std::uint32_t>& list, double slack = rounding) {
  const select_options& o = p.o;
  const std::size_t stride = p.pages[s].size();
  const std::size_t heads = o.dims.query_heads / o.scopes;
  ASSERT_EQ(list.size(), wanted_of(o, r));
  ASSERT_TRUE(std::is_sorted(list.begin(), list.end()));
  ASSERT_EQ(std::set<std::uint32_t>(list.begin(), list.end()).size(), list.size());
  for (const auto i : list)
    ASSERT_TRUE(i < r.old && r.allowed[i]) << "page " << i;
  if (!o.scored || r.old == 0)
    return;
  const auto shares = mean_shares(p.scores.data() + p.sequences[s].page_lse_offset
                                      + (row * o.dims.query_heads + scope * heads) * stride,
                                  heads, stride, r.old);
  // The lowest chosen page is not worse than the best page left out; on equal scores of all heads
  // the lower index is chosen.
  const std::set<std::uint32_t> chosen(list.begin(), list.end());
  std::size_t worst = stride;
  for (const auto i : list)
    if (worst == stride || shares[i] < shares[worst] || shares[i] == shares[worst])
      worst = i;
  for (std::uint32_t i = 0; i < r.old && worst < stride; ++i) {
    if (!r.allowed[i] || chosen.contains(i))
      continue;
    ASSERT_LE(shares[i], shares[worst] * (1 + slack) + 1e-37);
    if (heads == 1 && slack == rounding && shares[i] == shares[worst]) {
      ASSERT_GT(i, worst) << "a tie goes to the lower index";
    }
  }
}

} // namespace pikv::test
