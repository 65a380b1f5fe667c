// SPDX-License-Identifier: Apache-2.0
#include "gpu/cuda/select_problem.hpp"

namespace pikv {
namespace {

using gpu::cache_dims;
using options = test::select_options;
using problem = test::select_problem;

class cuda_select : public test::gpu_test {};

struct device_problem {
  std::vector<test::device_array<gpu::page_view>> pages;
  std::vector<gpu::cuda::attend_sequence> table;
  test::device_array<gpu::cuda::attend_sequence> sequences;
  test::device_array<float> scores, mass, gates;
  test::device_array<std::uint8_t> known;
  test::device_array<std::uint32_t> lists, counts, always, offsets, compacted, second_lists;
  test::device_array<choice_total> totals;
  test::device_array<std::byte> workspace;
  gpu::cuda::select_launch select;
  gpu::cuda::compact_launch compact;

  explicit device_problem(const problem& p)
      : scores(p.scores), mass(p.mass), gates(p.gates), known(p.known),
        lists(std::size_t{p.rows} * p.o.scopes * p.o.capacity), counts(p.rows * p.o.scopes),
        always(p.rows), offsets(p.rows * p.o.scopes + 1), compacted(lists.size()),
        second_lists(lists.size()), totals(counts.size()) {
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
    x.totals = totals.data();
    workspace = test::device_array<std::byte>(gpu::cuda::select_workspace_bytes(x));
    x.workspace = workspace.data();
    compact = {p.rows * p.o.scopes, p.o.capacity,     lists.data(),       counts.data(),
               offsets.data(),      compacted.data(), second_lists.data()};
  }

  void run(cudaStream_t stream = nullptr) {
    const auto ok = gpu::cuda::select(select, stream);
    ASSERT_TRUE(ok) << ok.error().what;
    ASSERT_TRUE(gpu::cuda::compact(compact, stream));
  }

  void expect(const problem& p) const {
    test::synchronise();
    const auto n = counts.download(), old = always.download(), at = offsets.download(),
               all = compacted.download(), raw = lists.download(), second = second_lists.download();
    const auto sums = totals.download();
    for (std::size_t s = 0; s < p.sequences.size(); ++s)
      for (std::uint32_t row = 0; row < p.sequences[s].row_count; ++row) {
        const auto r = test::plan_row(p, s, row);
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
          ASSERT_TRUE(
              std::equal(got.begin(), got.end(),
                         second.begin() + static_cast<std::ptrdiff_t>(list * p.o.capacity)));
          test::expect_list(p, s, row, scope, r, got);
          test::expect_total(p, s, r, got, sums[list]);
          if (testing::Test::HasFailure())
            return;
        }
      }
  }
};

void check(const options& o, std::uint64_t seed) {
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  const auto p = test::make_problem(o, seed);
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
  auto p = test::make_problem(
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
  auto p = test::make_problem({.dims = {1, 1, 32, 16},
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
  auto p = test::make_problem(o, 180);
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
