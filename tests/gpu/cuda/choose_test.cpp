// SPDX-License-Identifier: Apache-2.0
#include "gpu/cuda/choose_problem.hpp"

namespace pikv {
namespace {

using gpu::score_kind;
using test::choose_options;
using test::choose_problem;

/// Shares of the host's scores and of the GPU's differ by their rounding.
constexpr double score_slack = 1e-3;

class cuda_choose : public test::queue_test {};

/// A choice as the host sees it once the GPU is done.
struct made_choice {
  std::vector<std::uint32_t> offsets, pages, always_from;

  explicit made_choice(const gpu::page_selection& x)
      : offsets(download(x.offsets)), pages(download(x.pages)),
        always_from(download(x.always_from)) {}

  std::vector<std::uint32_t> list(std::size_t i) const {
    return {pages.begin() + offsets[i], pages.begin() + offsets[i + 1]};
  }

private:
  static std::vector<std::uint32_t> download(std::span<const std::uint32_t> from) {
    std::vector<std::uint32_t> x(from.size());
    test::expect_cuda(cudaMemcpy(x.data(), from.data(), from.size_bytes(), cudaMemcpyDeviceToHost));
    return x;
  }
};

/// Output and lse of an attention, in device memory.
struct attention {
  std::size_t row_floats, heads;
  test::device_array<float> out, lse;

  explicit attention(const choose_problem& c)
      : row_floats(c.p.o.dims.query_heads * c.p.o.dims.head_dim), heads(c.p.o.dims.query_heads),
        out(c.p.rows * row_floats), lse(c.p.rows * heads) {}

  void enqueue(const choose_problem& c, const gpu::page_selection& selection,
               gpu::executor& x) const {
    gpu::attend_args a;
    a.dims = c.p.o.dims;
    a.scale = c.scale();
    a.q = c.q_on_device->ref;
    a.sequences = c.sequences;
    a.selection = &selection;
    a.out = {reinterpret_cast<std::byte*>(out.data()), dtype::f32, row_floats, c.p.o.dims.head_dim};
    a.lse = lse.data();
    gpu::cuda::cuda_kernels().attend(a, x);
  }

  void expect_equal(const choose_problem& c, const attention& other) const {
    const auto mine = out.download(), theirs = other.out.download();
    const auto my_lse = lse.download(), their_lse = other.lse.download();
    for (std::size_t row = 0; row < c.p.rows; ++row) {
      if (!c.owned[row])
        continue;
      for (std::size_t i = 0; i < row_floats; ++i)
        ASSERT_EQ(mine[row * row_floats + i], theirs[row * row_floats + i]) << "row " << row;
      for (std::size_t h = 0; h < heads; ++h)
        ASSERT_EQ(my_lse[row * heads + h], their_lse[row * heads + h]) << "row " << row;
    }
  }
};

void expect_choice(const choose_problem& c, const made_choice& made,
                   const test::mapped_array<choice_total>& totals,
                   const test::mapped_array<std::uint32_t>& lists) {
  const auto& o = c.p.o;
  for (std::size_t s = 0; s < c.p.sequences.size(); ++s)
    for (std::uint32_t row = 0; row < c.p.sequences[s].row_count; ++row) {
      const auto r = test::plan_row(c.p, s, row);
      const std::size_t batch_row = c.p.sequences[s].row_begin + row;
      EXPECT_EQ(made.always_from[batch_row], r.old);
      for (std::uint32_t scope = 0; scope < o.scopes; ++scope) {
        SCOPED_TRACE(testing::Message()
                     << "sequence " << s << " row " << row << " scope " << scope);
        const std::size_t i = batch_row * o.scopes + scope;
        const auto list = made.list(i);
        test::expect_list(c.p, s, row, scope, r, list, score_slack);
        test::expect_total(c.p, s, r, list, totals[i]);
        EXPECT_TRUE(std::equal(list.begin(), list.end(), lists.data() + i * o.capacity));
        if (testing::Test::HasFailure())
          return;
      }
    }
  for (std::size_t row = 0; row < c.p.rows; ++row)
    for (std::uint32_t scope = 0; !c.owned[row] && scope < o.scopes; ++scope) {
      const std::size_t i = row * o.scopes + scope;
      EXPECT_TRUE(made.list(i).empty());
      EXPECT_GE(made.always_from[row], c.p.max_pages);
      EXPECT_EQ(totals[i].pages + totals[i].tokens, 0U);
      EXPECT_EQ(totals[i].routed_tokens + totals[i].routed_shards, 0U);
    }
}

void check(const choose_problem& c, const gpu::choose_args& given, gpu::cuda::launch_queue& q) {
  const test::mapped_array<choice_total> totals(c.p.rows * c.p.o.scopes);
  const test::mapped_array<std::uint32_t> lists(totals.size() * c.p.o.capacity);
  auto args = given;
  args.totals = totals.data();
  args.lists = lists.data();
  const attention chosen(c), told(c);
  gpu::page_selection selection;
  gpu::cuda::cuda_kernels().choose(args, selection, q);
  chosen.enqueue(c, selection, q);
  const auto failed = q.finish();
  ASSERT_EQ(failed.code, errc::ok) << failed.what;
  const made_choice made(selection);
  expect_choice(c, made, totals, lists);

  const gpu::page_selection same{selection.scopes, made.offsets, made.pages, made.always_from};
  told.enqueue(c, same, q);
  ASSERT_EQ(q.finish().code, errc::ok);
  chosen.expect_equal(c, told);
}

void check(const choose_options& o, std::uint64_t seed, gpu::cuda::launch_queue& q) {
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  const choose_problem c(o, seed);
  check(c, c.args(), q);
}

TEST_F(cuda_choose, routes_and_selects_as_the_policies_do) {
  std::uint64_t seed = 0;
  for (const auto route : {route_kind::all, route_kind::gate_top_k, route_kind::mass})
    for (const auto score : {score_kind::none, score_kind::mass, score_kind::quest})
      for (const std::uint32_t scopes : {1U, 2U})
        for (const auto& budget : {select_budget{0, 0.2}, select_budget{9, 0.5}})
          for (const bool unowned : {false, true}) {
            check({{.max_pages = 60,
                    .scopes = scopes,
                    .budget = budget,
                    .route = route,
                    .k = 1 + static_cast<std::uint32_t>(seed % 3),
                    .capacity = 60},
                   score,
                   unowned},
                  ++seed, *queue);
            if (HasFailure())
              return;
          }
}

TEST_F(cuda_choose, long_sequences_and_many_rows) {
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    check({{.dims = {16, 4, 64, 8},
            .sequences = 5,
            .max_pages = 900,
            .max_rows = 20,
            .scopes = 4,
            .budget = {.share = 0.1},
            .route = route_kind::mass,
            .k = 3,
            .capacity = 100},
           seed % 2 == 0 ? score_kind::mass : score_kind::quest,
           true},
          200 + seed, *queue);
}

TEST_F(cuda_choose, routes_by_gate_without_gates_read_every_shard) {
  choose_problem c({{.max_pages = 40, .route = route_kind::gate_top_k}, score_kind::mass}, 300);
  std::ranges::fill(c.p.known, std::uint8_t{0});
  auto args = c.args();
  args.gate_logits = nullptr;
  args.gate_known = nullptr;
  check(c, args, *queue);
}

TEST_F(cuda_choose, gates_on_the_device_are_read_there) {
  const choose_problem c({{.max_pages = 40, .route = route_kind::gate_top_k}, score_kind::mass},
                         310);
  const test::device_array<float> gates(c.p.gates);
  const test::device_array<std::uint8_t> known(c.p.known);
  auto args = c.args();
  args.gate_logits = gates.data();
  args.gate_known = known.data();
  check(c, args, *queue);
}

TEST_F(cuda_choose, chooses_nothing_where_nothing_is_old) {
  check({{.max_pages = 10, .window = 100000, .capacity = 0}, score_kind::quest, true}, 320, *queue);
  check({{.max_pages = 0, .route = route_kind::mass, .capacity = 0}, score_kind::mass}, 321,
        *queue);
}

TEST_F(cuda_choose, a_choice_that_fails_stops_the_attention_behind_it) {
  const choose_problem c({{.max_pages = 40}, score_kind::mass}, 330);
  auto args = c.args();
  args.scopes = 3;
  const attention a(c);
  gpu::page_selection selection;
  gpu::cuda::cuda_kernels().choose(args, selection, *queue);
  a.enqueue(c, selection, *queue);
  EXPECT_EQ(queue->finish().code, errc::invalid_argument);
  const auto lse = a.lse.download();
  EXPECT_TRUE(std::ranges::all_of(lse, [](float x) { return std::isnan(x); })) << "was written";
}

} // namespace
} // namespace pikv
