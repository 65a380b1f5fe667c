// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <pikv/gpu/device.hpp>
#include <pikv/gpu/host/kernels.hpp>
#include <pikv/gpu/host/thread_pool.hpp>

#include "support/attention_reference.hpp"
#include "support/page_fixture.hpp"

namespace pikv {
namespace {

using gpu::cache_dims;
using test::page_set;

/// One random batch with everything that an attend needs.
struct problem {
  cache_dims dims;
  std::vector<std::unique_ptr<page_set>> settled, window;
  std::vector<gpu::sequence_rows> sequences;
  std::uint32_t rows = 0;
  test::tensor q, out;
  std::vector<float> lse, page_lse;
  std::vector<std::uint64_t> page_lse_offsets;
  std::vector<std::uint32_t> offsets, pages, always;
  gpu::page_selection selection;
  gpu::attend_args args;
  bool large_logits = false; ///< in the hundreds: see expect_matches_reference
};

struct options {
  form stored = form::f32;
  dtype rows_type = dtype::f32;
  std::uint32_t head_dim = 64, kv_heads = 2, group = 2, page_tokens = 16;
  std::uint32_t sequences = 3;
  std::uint32_t max_pages = 12, max_rows = 20, max_window = 3;
  std::uint32_t scopes = 0; ///< of the selection; 0: none
  bool holes = false, page_lse = false;
  bool rising = false; ///< later pages have ever larger keys
  float sigma = 1;
};

void add_sequence(std::mt19937_64& rng, const options& o, problem& p) {
  const auto below = [&](std::uint32_t n) {
    return std::uniform_int_distribution<std::uint32_t>(0, n)(rng);
  };
  auto& settled = *p.settled.emplace_back(std::make_unique<page_set>());
  auto& window = *p.window.emplace_back(std::make_unique<page_set>());
  std::uint32_t position = 0;
  const form raw = is_raw(o.stored) ? o.stored : form::f16;
  for (std::uint32_t i = below(o.max_pages); i > 0; --i) {
    const std::uint32_t tokens = below(3) == 0 ? 1 + below(o.page_tokens - 1) : o.page_tokens;
    const float growth = o.rising ? static_cast<float>(settled.views.size() + 1) : 1.0F;
    settled.add(rng, p.dims, raw, tokens, position, o.sigma * growth);
    position += tokens;
  }
  if (!is_raw(o.stored))
    settled.encode(p.dims, o.stored);
  for (std::uint32_t i = below(o.max_window); i > 0; --i) {
    const std::uint32_t tokens = i == 1 ? 1 + below(o.page_tokens - 1) : o.page_tokens;
    window.add(rng, p.dims, raw, tokens, position, o.sigma);
    position += tokens;
  }
  if (o.holes)
    for (gpu::page_view& v : settled.views)
      if (below(2) == 0)
        v.data = nullptr;
  gpu::sequence_rows s;
  s.settled = settled.views;
  s.window = window.views;
  s.row_begin = p.rows;
  s.row_count = 1 + below(o.max_rows - 1);
  s.first_position = below(position + 2);
  p.rows += s.row_count;
  p.sequences.push_back(s);
}

void select_pages(std::mt19937_64& rng, const options& o, problem& p) {
  p.offsets.push_back(0);
  for (const auto& s : p.sequences)
    for (std::uint32_t r = 0; r < s.row_count; ++r) {
      const auto n = static_cast<std::uint32_t>(s.settled.size());
      p.always.push_back(std::uniform_int_distribution<std::uint32_t>(0, n)(rng));
      for (std::uint32_t scope = 0; scope < o.scopes; ++scope) {
        for (std::uint32_t i = 0; i < n; ++i)
          if (rng() % 3 == 0)
            p.pages.push_back(i);
        p.offsets.push_back(static_cast<std::uint32_t>(p.pages.size()));
      }
    }
  p.selection = {o.scopes, p.offsets, p.pages, p.always};
  p.args.selection = &p.selection;
}

std::unique_ptr<problem> make_problem(const options& o, std::uint64_t seed) {
  std::mt19937_64 rng(seed);
  auto p = std::make_unique<problem>();
  p->dims = {o.kv_heads * o.group, o.kv_heads, o.head_dim, o.page_tokens};
  for (std::uint32_t i = 0; i < o.sequences; ++i)
    add_sequence(rng, o, *p);
  p->q = test::random_tensor(rng, o.rows_type, p->rows, p->dims.query_heads, o.head_dim, o.sigma);
  p->out = test::empty_tensor(o.rows_type, p->rows, p->dims.query_heads, o.head_dim);
  p->lse.assign(p->rows * p->dims.query_heads, NAN);
  p->large_logits = o.rising;
  p->args.dims = p->dims;
  p->args.scale = 1 / std::sqrt(static_cast<float>(o.head_dim));
  p->args.q = p->q.ref;
  p->args.out = p->out.ref;
  p->args.sequences = p->sequences;
  p->args.lse = p->lse.data();
  std::uint64_t floats = 0;
  for (const auto& s : p->sequences) {
    p->page_lse_offsets.push_back(floats);
    floats += std::uint64_t{s.row_count} * p->dims.query_heads * s.settled.size();
  }
  p->page_lse.assign(floats + 1, NAN);
  if (o.page_lse) {
    p->args.page_lse = p->page_lse.data();
    p->args.page_lse_offsets = p->page_lse_offsets;
  }
  if (o.scopes > 0)
    select_pages(rng, o, *p);
  return p;
}

double relative_to(dtype type) {
  return type == dtype::f32 ? 1e-5 : type == dtype::f16 ? 1e-3 : 8e-3;
}

void expect_lse(double got, double want, const char* what) {
  if (std::isinf(want)) {
    EXPECT_EQ(got, want) << what;
  } else {
    EXPECT_NEAR(got, want, 1e-5 * std::max(1.0, std::abs(want))) << what;
  }
}

void expect_matches_reference(const problem& p) {
  const double tolerance = relative_to(p.out.ref.type);
  for (std::size_t s = 0; s < p.sequences.size(); ++s) {
    const auto& seq = p.sequences[s];
    for (std::size_t r = 0; r < seq.row_count; ++r)
      for (std::size_t h = 0; h < p.dims.query_heads; ++h) {
        const auto want = test::attend_row(p.args, seq, r, h);
        const std::size_t row = seq.row_begin + r;
        double error = 0, norm = 0;
        for (std::size_t c = 0; c < p.dims.head_dim; ++c) {
          error += std::pow(test::tensor_value(p.out.ref, row, h, c) - want.out[c], 2);
          norm += want.out[c] * want.out[c];
        }
        // A logit of size L carries f32's rounding of L, and the weights inherit it: 4 units of it
        // are allowed where a test makes logits too large for the plain tolerance.
        const double rounding = p.large_logits ? 4 * 0x1p-24 * std::abs(want.lse) : 0;
        const double allowed = norm > 0 ? std::max(tolerance, rounding) * std::sqrt(norm) : 0;
        ASSERT_LE(std::sqrt(error), allowed) << "row " << row << " head " << h;
        expect_lse(p.lse[row * p.dims.query_heads + h], want.lse, "lse");
        for (std::size_t i = 0; p.args.page_lse != nullptr && i < seq.settled.size(); ++i)
          expect_lse(p.page_lse[p.page_lse_offsets[s]
                                + (r * p.dims.query_heads + h) * seq.settled.size() + i],
                     want.page_lse[i], "page lse");
        if (testing::Test::HasFailure())
          return;
      }
  }
}

void check(const options& o, std::uint64_t seed, gpu::executor& exec) {
  const auto p = make_problem(o, seed);
  SCOPED_TRACE("seed " + std::to_string(seed) + " dim " + std::to_string(o.head_dim) + " page "
               + std::to_string(o.page_tokens) + " group " + std::to_string(o.group) + " form "
               + std::string(to_string(o.stored)));
  gpu::host_kernels().attend(p->args, exec);
  expect_matches_reference(*p);
}

void check(const options& o, std::uint64_t seed) {
  gpu::serial_executor exec;
  check(o, seed, exec);
}

TEST(attend_kernel, matches_float64_for_every_form_page_size_and_group) {
  std::uint64_t seed = 1;
  for (const form stored : gpu::all_forms)
    for (const std::uint32_t page_tokens : {8U, 16U, 32U, 64U})
      for (const std::uint32_t group : {1U, 2U, 4U, 8U})
        check({.stored = stored,
               .head_dim = seed % 3 == 0   ? 32U
                           : seed % 3 == 1 ? 64U
                                           : 128U,
               .group = group,
               .page_tokens = page_tokens,
               .max_pages = 6},
              seed++);
}

TEST(attend_kernel, matches_float64_for_every_head_dim) {
  for (std::uint32_t dim = 32; dim <= 256; dim += 32)
    check({.stored = form::f16, .head_dim = dim, .sequences = 2}, dim);
}

TEST(attend_kernel, matches_float64_for_wide_and_odd_groups) {
  for (const std::uint32_t group : {3U, 5U, 7U, 16U})
    check({.stored = form::bf16, .head_dim = 32, .kv_heads = 1, .group = group}, group);
}

TEST(attend_kernel, prefill_reads_only_up_to_each_row) {
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    check({.stored = form::f16, .head_dim = 32, .sequences = 1, .max_rows = 300}, 70 + seed);
}

TEST(attend_kernel, single_rows_match_float64) {
  for (const form stored : {form::f32, form::f16, form::bf16})
    for (std::uint64_t seed = 0; seed < 6; ++seed)
      check({.stored = stored, .sequences = 4, .max_pages = 40, .max_rows = 1}, 100 + seed);
}

TEST(attend_kernel, shared_selection_reads_exactly_its_pages) {
  for (std::uint64_t seed = 0; seed < 6; ++seed)
    check({.stored = form::f16, .max_pages = 30, .scopes = 1}, 200 + seed);
}

TEST(attend_kernel, selection_per_kv_head_reads_exactly_its_pages) {
  for (std::uint64_t seed = 0; seed < 6; ++seed)
    check({.stored = form::f32, .head_dim = 32, .kv_heads = 4, .max_pages = 30, .scopes = 4},
          300 + seed);
}

TEST(attend_kernel, selection_of_encoded_pages_matches_float64) {
  for (const form stored :
       {form::int8, form::int4, form::fp8, form::int3, form::int2, form::k4v2, form::k3v2})
    check({.stored = stored, .max_pages = 20, .scopes = 2}, 350);
}

TEST(attend_kernel, encoded_pages_give_what_their_decoded_values_give) {
  for (const form stored : gpu::all_forms) {
    if (is_raw(stored))
      continue;
    gpu::serial_executor exec;
    auto p = make_problem({.stored = stored, .max_pages = 20}, 360);
    gpu::host_kernels().attend(p->args, exec);
    const auto before = p->lse;
    const std::size_t bytes = p->rows * p->dims.query_heads * p->dims.head_dim;
    const auto* out = reinterpret_cast<const float*>(p->out.ref.data);
    const std::vector<float> encoded(out, out + bytes);
    std::vector<test::aligned_bytes> decoded;
    decoded.reserve(1000);
    for (auto& set : p->settled)
      for (auto& view : set->views) {
        auto& memory = decoded.emplace_back(gpu::layout_of(p->dims, form::f32).page_bytes);
        const gpu::page_view from[] = {view};
        std::byte* const to[] = {memory.data()};
        gpu::host_kernels().decode({p->dims, form::f32, from, to}, exec);
        view.data = memory.data();
        view.stored = form::f32;
      }
    gpu::host_kernels().attend(p->args, exec);
    for (std::size_t i = 0; i < bytes; ++i)
      ASSERT_NEAR(out[i], encoded[i], 1e-5) << to_string(stored);
    for (std::size_t i = 0; i < before.size(); ++i)
      if (!std::isinf(before[i])) {
        ASSERT_NEAR(p->lse[i], before[i], 1e-5) << to_string(stored);
      }
  }
}

TEST(attend_kernel, pages_that_are_gone_are_skipped) {
  for (std::uint64_t seed = 0; seed < 6; ++seed)
    check({.stored = form::bf16, .holes = true}, 400 + seed);
}

TEST(attend_kernel, page_lse_is_the_log_mass_of_each_page) {
  for (const std::uint32_t page_tokens : {8U, 16U, 64U})
    for (const std::uint32_t scopes : {0U, 2U})
      check({.page_tokens = page_tokens, .scopes = scopes, .holes = true, .page_lse = true},
            500 + page_tokens);
}

TEST(attend_kernel, page_lse_is_right_for_pages_far_below_the_top) {
  for (std::uint64_t seed = 0; seed < 3; ++seed) // logits in the hundreds
    check({.head_dim = 32, .page_lse = true, .sigma = 6}, 550 + seed);
}

TEST(attend_kernel, logits_that_rise_by_hundreds_match_float64) {
  for (std::uint64_t seed = 0; seed < 3; ++seed)
    check({.head_dim = 32, .sequences = 4, .max_pages = 60, .rising = true, .sigma = 3},
          580 + seed);
}

TEST(attend_kernel, page_masses_and_window_add_up_to_the_whole) {
  const auto p = make_problem({.max_window = 0, .page_lse = true}, 9);
  gpu::serial_executor exec;
  gpu::host_kernels().attend(p->args, exec);
  for (std::size_t s = 0; s < p->sequences.size(); ++s)
    for (std::size_t i = 0; i < p->sequences[s].row_count * p->dims.query_heads; ++i) {
      const double lse = p->lse[p->sequences[s].row_begin * p->dims.query_heads + i];
      double mass = 0;
      const std::size_t pages = p->sequences[s].settled.size();
      for (std::size_t j = 0; j < pages; ++j)
        mass += std::exp(p->page_lse[p->page_lse_offsets[s] + i * pages + j] - lse);
      if (!std::isinf(lse)) {
        EXPECT_NEAR(mass, 1, 1e-5);
      }
    }
}

TEST(attend_kernel, engine_types_of_sixteen_bits_match_float64) {
  for (const dtype type : {dtype::f16, dtype::bf16})
    check({.stored = raw_form(type), .rows_type = type}, 600);
}

TEST(attend_kernel, rows_without_entries_are_zero_with_minus_infinity) {
  auto p = make_problem({.sequences = 2, .max_pages = 0, .max_window = 0}, 7);
  gpu::serial_executor exec;
  gpu::host_kernels().attend(p->args, exec);
  for (std::size_t i = 0; i < p->rows * p->dims.query_heads; ++i)
    EXPECT_EQ(p->lse[i], -INFINITY);
  for (std::size_t i = 0; i < p->rows * p->dims.query_heads * p->dims.head_dim; ++i)
    EXPECT_EQ(reinterpret_cast<const float*>(p->out.ref.data)[i], 0.0F);
}

TEST(attend_kernel, long_lists_split_over_threads_match_float64) {
  gpu::thread_pool pool(4, std::chrono::microseconds{0}, "test");
  for (const form stored : {form::f32, form::bf16, form::int8})
    check({.stored = stored,
           .kv_heads = 1,
           .group = 4,
           .sequences = 1,
           .max_pages = 700,
           .max_rows = 1,
           .page_lse = true},
          static_cast<std::uint64_t>(801 + static_cast<int>(stored)), pool);
  check({.stored = form::f16,
         .kv_heads = 1,
         .sequences = 2,
         .max_pages = 300,
         .max_rows = 3,
         .scopes = 1},
        820, pool);
}

TEST(attend_kernel, every_instruction_set_matches_float64) {
  const std::int64_t supported = hwy::SupportedTargets();
  for (std::int64_t left = supported; left != 0; left &= left - 1) {
    hwy::SetSupportedTargetsForTest(left & -left);
    SCOPED_TRACE(gpu::host_simd_target());
    for (const form stored : gpu::all_forms)
      for (const std::uint32_t page_tokens : {8U, 16U})
        check({.stored = stored, .head_dim = 32, .page_tokens = page_tokens, .page_lse = true},
              900);
  }
  hwy::SetSupportedTargetsForTest(0);
}

} // namespace
} // namespace pikv
