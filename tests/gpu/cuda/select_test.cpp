// SPDX-License-Identifier: Apache-2.0
// The reference below is written from the contracts of policies/routing and policies/selection in
// float64. Where shares are equal the choice must be too; where they differ by less than rounding,
// either page may be chosen.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include <pikv/gpu/cuda/select.hpp>

#include "gpu/cuda/device_fixture.hpp"

namespace pikv {
namespace {

using gpu::cache_dims;
using gpu::cuda::route_kind;

class cuda_select : public test::gpu_test {};

struct options {
  cache_dims dims{8, 2, 32, 16};
  std::uint32_t sequences = 3, max_pages = 300, max_rows = 3;
  std::uint32_t scopes = 2, window = 40;
  std::uint32_t levels = 0; ///< scores take one of so many values; 0: any
  bool scored = true, gone = true;
  gpu::cuda::select_budget budget{};
  route_kind route = route_kind::all;
  std::uint32_t k = 2, shards = 8, experts = 12;
  std::uint32_t capacity = 400;
};

struct problem {
  options o;
  std::vector<std::vector<gpu::page_view>> pages;
  std::vector<gpu::cuda::attend_sequence> sequences; ///< with host tables
  std::vector<float> scores, mass, gates;
  std::vector<std::uint8_t> known;
  std::uint32_t rows = 0, max_rows = 0, max_pages = 0;
};

float random_score(std::mt19937_64& rng, const options& o) {
  if (o.levels > 0)
    return 0.5F * static_cast<float>(test::between(rng, 0, o.levels - 1));
  return std::normal_distribution<float>(0, 3)(rng);
}

problem make_problem(const options& o, std::uint64_t seed) {
  std::mt19937_64 rng(seed);
  problem p{
      .o = o, .pages = {}, .sequences = {}, .scores = {}, .mass = {}, .gates = {}, .known = {}};
  for (std::uint32_t s = 0; s < o.sequences; ++s) {
    auto& pages = p.pages.emplace_back();
    const std::uint32_t n = test::between(rng, s == 0 ? o.max_pages : 0, o.max_pages);
    for (std::uint32_t i = 0; i < n; ++i) {
      gpu::page_view v;
      v.data = o.gone && test::between(rng, 0, 7) == 0 ? nullptr : reinterpret_cast<std::byte*>(64);
      v.first_position = 4 + i * o.dims.page_tokens;
      v.tokens = static_cast<std::uint16_t>(o.dims.page_tokens);
      v.shard = {test::between(rng, 0, o.shards - 1) % 5}; // some shards stay empty
      pages.push_back(v);
    }
    gpu::cuda::attend_sequence x;
    x.settled_count = n;
    x.row_begin = p.rows;
    x.row_count = test::between(rng, 1, o.max_rows);
    x.first_position = 4 + n * o.dims.page_tokens + test::between(rng, 0, 20);
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
    p.gates.push_back(0.25F * static_cast<float>(test::between(rng, 0, 8))); // many are equal
  for (std::uint32_t i = 0; i < p.rows; ++i)
    p.known.push_back(test::between(rng, 0, 4) > 0 ? 1 : 0);
  return p;
}

// -- reference ----------------------------------------------------------------------------------

std::vector<double> mean_shares(const float* scores, std::size_t heads, std::size_t stride,
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
  std::vector<bool> allowed; ///< of the old pages
};

row_plan plan_row(const problem& p, std::size_t s, std::uint32_t row) {
  const options& o = p.o;
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
  for (std::size_t i = 0; i < r.old; ++i)
    r.allowed.push_back(pages[i].data != nullptr && in[pages[i].shard.value]);
  return r;
}

std::size_t wanted_of(const options& o, const row_plan& r) {
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

void expect_list(const problem& p, std::size_t s, std::uint32_t row, std::uint32_t scope,
                 const row_plan& r, const std::vector<std::uint32_t>& list) {
  const options& o = p.o;
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
    ASSERT_LE(shares[i], shares[worst] * (1 + 1e-5) + 1e-37);
    if (heads == 1 && shares[i] == shares[worst]) {
      ASSERT_GT(i, worst) << "a tie goes to the lower index";
    }
  }
}

// -- the device -------------------------------------------------------------------------------

struct device_problem {
  std::vector<test::device_array<gpu::page_view>> pages;
  std::vector<gpu::cuda::attend_sequence> table;
  test::device_array<gpu::cuda::attend_sequence> sequences;
  test::device_array<float> scores, mass, gates;
  test::device_array<std::uint8_t> known;
  test::device_array<std::uint32_t> lists, counts, always, offsets, compacted;
  test::device_array<std::byte> workspace;
  gpu::cuda::select_launch select;
  gpu::cuda::compact_launch compact;

  explicit device_problem(const problem& p)
      : scores(p.scores), mass(p.mass), gates(p.gates), known(p.known),
        lists(std::size_t{p.rows} * p.o.scopes * p.o.capacity), counts(p.rows * p.o.scopes),
        always(p.rows), offsets(p.rows * p.o.scopes + 1), compacted(lists.size()) {
    table = p.sequences;
    for (std::size_t s = 0; s < table.size(); ++s)
      table[s].settled = pages.emplace_back(p.pages[s]).data();
    sequences = test::device_array<gpu::cuda::attend_sequence>(table);
    auto& x = select;
    x.dims = p.o.dims;
    x.sequences = sequences.data();
    x.bounds = {static_cast<std::uint32_t>(table.size()), p.max_rows, p.max_pages};
    x.rows = p.rows;
    x.window = p.o.window;
    x.scopes = p.o.scopes;
    x.route = {p.o.route, p.o.k, p.o.shards, p.o.experts, gates.data(), known.data(), mass.data()};
    x.scores = p.o.scored ? scores.data() : nullptr;
    x.budget = p.o.budget;
    x.capacity = p.o.capacity;
    x.lists = lists.data();
    x.counts = counts.data();
    x.always_from = always.data();
    workspace = test::device_array<std::byte>(gpu::cuda::select_workspace_bytes(x));
    x.workspace = workspace.data();
    compact = {p.rows * p.o.scopes, p.o.capacity,   lists.data(),
               counts.data(),       offsets.data(), compacted.data()};
  }

  void run(cudaStream_t stream = nullptr) {
    const auto ok = gpu::cuda::select(select, stream);
    ASSERT_TRUE(ok) << ok.error().what;
    ASSERT_TRUE(gpu::cuda::compact(compact, stream));
  }

  void expect(const problem& p) const {
    test::synchronise();
    const auto n = counts.download(), old = always.download(), at = offsets.download(),
               all = compacted.download(), raw = lists.download();
    for (std::size_t s = 0; s < p.sequences.size(); ++s)
      for (std::uint32_t row = 0; row < p.sequences[s].row_count; ++row) {
        const auto r = plan_row(p, s, row);
        const std::size_t batch_row = p.sequences[s].row_begin + row;
        ASSERT_EQ(old[batch_row], r.old);
        for (std::uint32_t scope = 0; scope < p.o.scopes; ++scope) {
          SCOPED_TRACE(testing::Message()
                       << "sequence " << s << " row " << row << " scope " << scope);
          const std::size_t list = batch_row * p.o.scopes + scope;
          ASSERT_EQ(at[list + 1] - at[list], n[list]);
          const std::vector<std::uint32_t> got(all.begin() + at[list], all.begin() + at[list + 1]);
          ASSERT_TRUE(std::equal(got.begin(), got.end(),
                                 raw.begin() + static_cast<std::ptrdiff_t>(list * p.o.capacity)));
          expect_list(p, s, row, scope, r, got);
          if (testing::Test::HasFatalFailure())
            return;
        }
      }
  }
};

void check(const options& o, std::uint64_t seed) {
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  const auto p = make_problem(o, seed);
  device_problem d(p);
  d.run();
  d.expect(p);
}

TEST_F(cuda_select, takes_the_pages_with_the_largest_shares) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    check({.budget = {.share = 0.125}}, seed);
    check({.scopes = 1, .budget = {.pages = 17}}, 20 + seed);
    check({.dims = {32, 8, 32, 8}, .scopes = 8, .budget = {.share = 0.5}}, 40 + seed);
  }
}

TEST_F(cuda_select, equal_shares_go_to_the_lower_index) {
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    check({.dims = {4, 4, 32, 16},
           .scopes = 4,
           .levels = static_cast<std::uint32_t>(1 + seed % 5),
           .budget = {.pages = static_cast<std::uint32_t>(1 + 13 * seed)}},
          60 + seed);
}

TEST_F(cuda_select, budgets_of_nothing_one_and_everything) {
  for (const std::uint32_t pages : {1U, 1000U})
    check({.budget = {.pages = pages}}, 90);
  check({.budget = {.share = 1}}, 91);
  check({.budget = {.share = 1e-6}}, 92);
  check({.max_pages = 0, .budget = {.share = 0.5}}, 93);
  check({.window = 100000, .budget = {.share = 0.5}}, 94);
}

TEST_F(cuda_select, without_scores_every_old_page_of_the_route_is_read) {
  check({.scopes = 1, .scored = false}, 95);
  check({.scopes = 1, .scored = false, .route = route_kind::gate_top_k}, 96);
}

TEST_F(cuda_select, routes_by_gate) {
  for (std::uint64_t seed = 0; seed < 12; ++seed)
    check({.budget = {.share = 0.25},
           .route = route_kind::gate_top_k,
           .k = static_cast<std::uint32_t>(1 + seed % 3),
           .experts = seed % 2 == 0 ? 12U : 3U},
          100 + seed);
}

TEST_F(cuda_select, routes_by_mass) {
  for (std::uint64_t seed = 0; seed < 12; ++seed)
    check({.budget = {.share = 0.25},
           .route = route_kind::mass,
           .k = 1 + static_cast<std::uint32_t>(seed % 4)},
          120 + seed);
}

TEST_F(cuda_select, a_route_with_pages_in_its_last_shard_only_reads_them) {
  auto p = make_problem(
      {.scored = false, .gone = false, .route = route_kind::gate_top_k, .k = 1, .experts = 2}, 140);
  for (auto& pages : p.pages)
    for (auto& v : pages)
      v.shard = {7}; // experts 0 and 1 lead to shards 0 and 1
  device_problem d(p);
  d.run();
  d.expect(p);
}

TEST_F(cuda_select, lists_are_cut_at_their_capacity) {
  check({.budget = {.share = 0.9}, .capacity = 33}, 150);
}

TEST_F(cuda_select, lists_too_long_for_shared_memory) {
  check({.dims = {2, 2, 32, 8},
         .sequences = 2,
         .max_pages = 50000,
         .max_rows = 1,
         .budget = {.pages = 3000},
         .capacity = 3000},
        160);
}

TEST_F(cuda_select, infinite_and_undefined_scores_do_no_harm) {
  auto p = make_problem({.dims = {1, 1, 32, 16},
                         .sequences = 1,
                         .max_rows = 1,
                         .scopes = 1,
                         .gone = false,
                         .budget = {.pages = 2}},
                        170);
  p.scores[5] = NAN;
  p.scores[7] = INFINITY;
  device_problem d(p);
  d.run();
  test::synchronise();
  const auto list = d.compacted.download();
  EXPECT_TRUE(list[0] == 7 || list[1] == 7);
  EXPECT_FALSE(list[0] == 5 || list[1] == 5);
}

TEST_F(cuda_select, a_captured_selection_replays_on_new_scores) {
  const options o{.budget = {.share = 0.2}, .route = route_kind::mass};
  auto p = make_problem(o, 180);
  device_problem d(p);
  d.run(); // loads the kernels
  cudaStream_t stream = nullptr;
  test::expect_cuda(cudaStreamCreate(&stream));
  test::expect_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  d.run(stream);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  test::expect_cuda(cudaStreamEndCapture(stream, &graph));
  test::expect_cuda(cudaGraphInstantiate(&exec, graph, 0));
  std::mt19937_64 rng(181);
  for (int replay = 0; replay < 3; ++replay) {
    for (auto& x : p.scores)
      x = std::isinf(x) ? x : random_score(rng, o);
    d.scores.upload(p.scores);
    test::expect_cuda(cudaGraphLaunch(exec, stream));
    d.expect(p);
  }
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

TEST_F(cuda_select, wrong_arguments_are_refused) {
  gpu::cuda::select_launch x;
  x.dims = {4, 2, 64, 16};
  x.scopes = 3;
  EXPECT_EQ(gpu::cuda::select(x, nullptr).code(), errc::invalid_argument);
  x.scopes = 2;
  x.route.kind = route_kind::mass;
  x.route.shards = 4;
  EXPECT_EQ(gpu::cuda::select(x, nullptr).code(), errc::invalid_argument);
}

} // namespace
} // namespace pikv
