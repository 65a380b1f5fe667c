// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "gpu/cuda/attend_checks.hpp"

namespace pikv::test {
namespace {

const std::vector<form> stored_forms = {form::bf16, form::f16, form::fp8, form::int8, form::int4};

/// The raw form beside pages of `x`; all f16 where nothing asks for bf16.
form window_of(form x) { return x == form::bf16 ? form::bf16 : form::f16; }

TEST_F(cuda_attend, matches_float64_for_every_form_page_size_and_head_dim) {
  std::uint64_t seed = 1;
  for (const form stored : stored_forms)
    for (const std::uint32_t page_tokens : {8U, 16U, 32U, 64U})
      for (const std::uint32_t dim : {32U, 64U, 128U})
        check({.forms = {stored},
               .window_form = window_of(stored),
               .head_dim = dim,
               .page_tokens = page_tokens,
               .max_pages = 200 / page_tokens},
              seed++);
}

TEST_F(cuda_attend, matches_float64_for_every_group) {
  for (std::uint32_t group = 1; group <= 16; ++group)
    for (const form stored : {form::bf16, form::int8})
      check({.forms = {stored},
             .window_form = window_of(stored),
             .head_dim = 64,
             .kv_heads = 3,
             .group = group},
            100 + group);
}

TEST_F(cuda_attend, rows_read_causally) {
  for (const std::uint32_t group : {1U, 3U, 4U, 8U, 16U})
    for (std::uint64_t seed = 0; seed < 4; ++seed)
      check({.forms = {form::f16},
             .window_form = form::f16,
             .group = group,
             .max_rows = 16,
             .max_window = 4},
            200 + 10 * group + seed);
}

TEST_F(cuda_attend, prefill_of_hundreds_of_rows_reads_only_what_is_in_the_ring) {
  // Most tiles of the early rows are read in part or not at all, at every place in the ring.
  for (const std::uint32_t dim : {32U, 128U})
    for (const std::vector<form>& forms :
         {std::vector{form::f16}, std::vector{form::int4, form::f16}})
      check({.forms = forms,
             .window_form = form::f16,
             .head_dim = dim,
             .kv_heads = 1,
             .group = 2,
             .sequences = 2,
             .min_pages = 30,
             .max_pages = 60,
             .max_rows = 300,
             .holes = true},
            800 + dim);
}

TEST_F(cuda_attend, a_tile_may_end_where_the_ring_ends) {
  // Equal tiles, enough of them in a row to come round: in some of these shapes they divide the
  // ring's bytes.
  for (const std::uint32_t dim : {32U, 64U, 128U})
    for (const std::uint32_t page : {8U, 16U, 32U, 64U})
      check({.forms = {form::f16},
             .window_form = form::f16,
             .head_dim = dim,
             .kv_heads = 4,
             .group = 2,
             .page_tokens = page,
             .sequences = 2,
             .min_pages = 4096 / page,
             .max_pages = 4096 / page,
             .max_rows = 24},
            820 + dim + page);
}

TEST_F(cuda_attend, long_lists_are_split_over_blocks_and_merged) {
  for (const std::uint32_t rows : {1U, 4U})
    check({.forms = {form::f16},
           .window_form = form::f16,
           .kv_heads = 1,
           .group = 2,
           .sequences = 2,
           .min_pages = 1500,
           .max_pages = 2500,
           .max_rows = rows},
          300 + rows);
}

TEST_F(cuda_attend, many_short_sequences_share_blocks) {
  check({.forms = {form::f16},
         .window_form = form::f16,
         .head_dim = 32,
         .sequences = 500,
         .max_pages = 5,
         .max_rows = 2},
        310);
}

TEST_F(cuda_attend, forms_may_be_mixed) {
  for (const std::uint32_t page_tokens : {8U, 16U, 32U, 64U})
    check({.forms = stored_forms,
           .page_tokens = page_tokens,
           .min_pages = 10,
           .max_pages = 40,
           .max_rows = 3},
          320 + page_tokens);
}

TEST_F(cuda_attend, selection_reads_exactly_its_pages) {
  for (const std::uint32_t scopes : {1U, 4U})
    for (const form stored : {form::f16, form::int4})
      for (std::uint64_t seed = 0; seed < 3; ++seed)
        check({.forms = {stored},
               .window_form = form::f16,
               .head_dim = 64,
               .kv_heads = 4,
               .max_pages = 60,
               .max_rows = 5,
               .scopes = scopes},
              400 + seed);
}

/// Rows of other launches: two lanes may serve one batch at the same time.
TEST_F(cuda_attend, rows_that_are_not_listed_are_left_alone) {
  attend_problem p({.forms = {form::f16},
                    .window_form = form::f16,
                    .head_dim = 64,
                    .kv_heads = 4,
                    .max_pages = 60,
                    .max_rows = 5,
                    .scopes = 4},
                   450);
  ASSERT_GT(p.owned.size(), 1U);
  const auto other = p.owned.back();
  --p.launch.selection.owned_count;
  p.run(); // poisons the outputs first
  for (std::uint32_t h = 0; h < p.dims.query_heads; ++h) {
    EXPECT_EQ(std::bit_cast<std::uint32_t>(p.lse[other.row * p.dims.query_heads + h]), ~0U);
    const auto* from = p.out.memory.data()
                       + (other.row * p.out.ref.row_stride + h * p.out.ref.head_stride)
                             * size_of(p.out.ref.type);
    for (std::size_t i = 0; i < p.dims.head_dim * size_of(p.out.ref.type); ++i)
      ASSERT_EQ(from[i], std::byte{0xFF}) << "head " << h << " byte " << i;
  }
  for (std::size_t h = 0; h < p.dims.query_heads && !HasFailure(); ++h)
    expect_row(p, 0, 0, h);
}

TEST_F(cuda_attend, pages_that_are_gone_are_skipped) {
  for (const form stored : stored_forms)
    check({.forms = {stored}, .window_form = window_of(stored), .holes = true}, 500);
}

TEST_F(cuda_attend, page_lse_is_the_log_mass_of_each_page) {
  for (const std::uint32_t page_tokens : {8U, 16U, 32U, 64U})
    for (const std::uint32_t scopes : {0U, 1U, 2U})
      for (const form stored : {form::f16, form::fp8, form::int4})
        check({.forms = {stored},
               .window_form = form::f16,
               .head_dim = 64,
               .page_tokens = page_tokens,
               .max_rows = 4,
               .scopes = scopes,
               .holes = true,
               .page_lse = true},
              600 + page_tokens);
}

TEST_F(cuda_attend, page_lse_of_mixed_forms) {
  check({.forms = stored_forms, .max_pages = 60, .max_rows = 2, .holes = true, .page_lse = true},
        650);
}

TEST_F(cuda_attend, engine_types_and_layouts) {
  for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16})
    for (const layout order : {layout::nhd, layout::hnd})
      check({.rows_type = type, .max_rows = 3, .order = order}, 700);
}

TEST_F(cuda_attend, reads_mapped_host_memory) {
  for (const form stored : {form::bf16, form::int8})
    check({.forms = {stored}, .mapped = true}, 710);
}

TEST_F(cuda_attend, rows_without_entries_are_zero_with_minus_infinity) {
  attend_problem p({.sequences = 2, .max_pages = 0, .max_window = 0}, 7);
  p.run();
  for (const float x : p.lse)
    EXPECT_EQ(x, -INFINITY);
  for (std::size_t i = 0; i < p.rows * p.dims.query_heads * p.dims.head_dim; ++i)
    EXPECT_EQ(test::element(p.out.ref.data, dtype::f32, i), 0.0);
}

TEST_F(cuda_attend, large_logits_do_not_overflow) {
  for (const form stored : {form::f16, form::fp8})
    for (std::uint64_t seed = 0; seed < 3; ++seed)
      check({.forms = {stored}, .window_form = form::f16, .rows_type = dtype::f16, .sigma = 6},
            720 + seed);
}

TEST_F(cuda_attend, pages_of_f32_give_nan_instead_of_wrong_values) {
  attend_problem p({.forms = {form::f32}, .sequences = 1, .min_pages = 5, .max_pages = 9}, 730);
  p.run();
  for (std::size_t i = 0; i < p.rows * p.dims.query_heads * p.dims.head_dim; ++i)
    EXPECT_TRUE(std::isnan(test::element(p.out.ref.data, dtype::f32, i)));
}

TEST_F(cuda_attend, repeated_launches_give_the_same_bits) {
  attend_problem p({.sequences = 5, .max_pages = 700}, 740);
  p.run();
  const auto first = p.lse;
  for (int i = 0; i < 20; ++i) {
    p.run();
    ASSERT_EQ(p.lse, first);
  }
  expect_matches_reference(p);
}

TEST_F(cuda_attend, a_captured_launch_follows_its_descriptors) {
  attend_problem p({.sequences = 4, .min_pages = 50, .max_pages = 300}, 750);
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  ASSERT_TRUE(gpu::cuda::attend_prepare(p.dims).ok());
  test::require(cudaStreamCreate(&stream), "stream");
  test::require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  ASSERT_TRUE(gpu::cuda::attend(p.launch, stream).ok());
  test::require(cudaStreamEndCapture(stream, &graph), "capture");
  test::require(cudaGraphInstantiate(&exec, graph, 0), "instantiate");
  for (int i = 0; i < 3; ++i) {
    for (std::size_t s = 0; s < p.sequences.size(); ++s) {
      const std::uint32_t fewer = p.descriptors[s].settled_count - 10;
      p.descriptors[s].settled_count = fewer;
      p.sequences[s].settled = p.sequences[s].settled.views.first(fewer);
    }
    test::require(cudaMemcpy(const_cast<gpu::cuda::attend_sequence*>(p.launch.sequences),
                             p.descriptors.data(),
                             p.descriptors.size() * sizeof(gpu::cuda::attend_sequence),
                             cudaMemcpyDefault),
                  "descriptors");
    test::require(cudaGraphLaunch(exec, stream), "launch");
    test::require(cudaStreamSynchronize(stream), "attend");
    p.fetch();
    expect_matches_reference(p);
  }
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

TEST_F(cuda_attend, shapes_without_a_kernel_are_refused) {
  attend_problem p({.sequences = 1}, 780);
  auto x = p.launch;
  x.dims.head_dim = 96;
  EXPECT_EQ(gpu::cuda::attend(x, nullptr).code(), errc::invalid_argument);
  x = p.launch;
  x.dims.page_tokens = 24;
  EXPECT_EQ(gpu::cuda::attend(x, nullptr).code(), errc::invalid_argument);
  x = p.launch;
  x.dims.query_heads = 17 * x.dims.kv_heads;
  EXPECT_EQ(gpu::cuda::attend(x, nullptr).code(), errc::invalid_argument);
}

} // namespace
} // namespace pikv::test
