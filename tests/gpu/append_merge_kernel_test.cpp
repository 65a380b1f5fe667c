// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <pikv/gpu/host/kernels.hpp>

#include "support/attention_reference.hpp"
#include "support/page_fixture.hpp"

namespace pikv {
namespace {

using gpu::cache_dims;

void expect_appended(form stored, dtype type, layout order, std::uint32_t page_tokens,
                     bool shuffled) {
  std::mt19937_64 rng(1);
  const cache_dims dims{4, 2, 32, page_tokens};
  const std::size_t rows = 3 * page_tokens + 5;
  const auto k = test::random_tensor(rng, type, rows, 2, 32, 1, order);
  const auto v = test::random_tensor(rng, type, rows, 2, 32, 1, order);
  std::vector<test::aligned_bytes> memory;
  for (int i = 0; i < 5; ++i)
    memory.emplace_back(gpu::layout_of(dims, stored).page_bytes);
  std::vector<gpu::append_target> targets;
  for (std::uint32_t r = 0; r < rows; ++r) // begins in the middle of a page
    targets.push_back({memory[(r + 3) / page_tokens].data(), r,
                       static_cast<std::uint16_t>((r + 3) % page_tokens)});
  if (shuffled)
    std::shuffle(targets.begin(), targets.end(), rng);
  gpu::serial_executor exec;
  gpu::host_kernels().append({dims, stored, k.ref, v.ref, targets}, exec);
  const double relative = stored == form::f32 ? 0 : stored == form::f16 ? 5e-4 : 4e-3;
  for (const auto& x : targets) {
    gpu::page_view page;
    page.data = x.page;
    page.stored = stored;
    for (std::size_t h = 0; h < 2; ++h)
      for (std::size_t c = 0; c < 32; ++c) {
        const double want_k = test::tensor_value(k.ref, x.row, h, c);
        const double want_v = test::tensor_value(v.ref, x.row, h, c);
        const double slack = raw_form(type) == stored ? 0 : relative;
        ASSERT_NEAR(test::stored_k(dims, page, h, x.slot, c), want_k,
                    slack * std::abs(want_k) + (slack > 0 ? 1e-7 : 0));
        ASSERT_NEAR(test::stored_v(dims, page, h, x.slot, c), want_v,
                    slack * std::abs(want_v) + (slack > 0 ? 1e-7 : 0));
      }
  }
}

TEST(append_kernel, puts_every_row_in_its_slot) {
  for (const form stored : {form::f32, form::f16, form::bf16})
    for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16})
      for (const layout order : {layout::nhd, layout::hnd})
        for (const std::uint32_t page_tokens : {8U, 16U, 32U, 64U})
          expect_appended(stored, type, order, page_tokens, false);
}

TEST(append_kernel, takes_targets_in_any_order) {
  expect_appended(form::f16, dtype::f16, layout::nhd, 16, true);
}

TEST(append_kernel, leaves_other_slots_alone) {
  std::mt19937_64 rng(2);
  const cache_dims dims{1, 1, 32, 16};
  test::aligned_bytes page(gpu::layout_of(dims, form::f16).page_bytes);
  const auto x = test::random_tensor(rng, dtype::f16, 1, 1, 32);
  const gpu::append_target target{page.data(), 0, 5};
  gpu::serial_executor exec;
  gpu::host_kernels().append({dims, form::f16, x.ref, x.ref, {&target, 1}}, exec);
  const auto lay = gpu::layout_of(dims, form::f16);
  for (std::size_t i = 0; i < 32 * 16; ++i) {
    if (i % 16 != 5) {
      ASSERT_EQ(test::read_at<std::uint16_t>(page.data() + lay.k_offset, i), 0xFFFF);
    }
    if (i / 32 != 5) {
      ASSERT_EQ(test::read_at<std::uint16_t>(page.data() + lay.v_offset, i), 0xFFFF);
    }
  }
}

/// One sequence of settled pages, attended in full and in random parts.
struct split_attend {
  cache_dims dims{4, 2, 64, 16};
  std::size_t rows = 5;
  test::page_set pages;
  test::tensor q;
  std::vector<std::vector<float>> outs, lses;
  std::vector<float> full_out, full_lse;

  explicit split_attend(std::uint64_t seed, std::size_t parts) {
    std::mt19937_64 rng(seed);
    for (std::size_t i = 0; i < 20; ++i)
      pages.add(rng, dims, form::f32, 16, i * 16);
    q = test::random_tensor(rng, dtype::f32, rows, 4, 64);
    attend(pages.views, full_out, full_lse);
    std::vector<std::vector<gpu::page_view>> split(parts);
    for (const auto& page : pages.views)
      split[rng() % parts].push_back(page);
    outs.resize(parts);
    lses.resize(parts);
    for (std::size_t i = 0; i < parts; ++i)
      attend(split[i], outs[i], lses[i]);
  }

  void attend(const std::vector<gpu::page_view>& views, std::vector<float>& out,
              std::vector<float>& lse) {
    out.assign(rows * 4 * 64, NAN);
    lse.assign(rows * 4, NAN);
    gpu::sequence_rows seq;
    seq.settled = views;
    seq.row_count = static_cast<std::uint32_t>(rows);
    seq.first_position = 310;
    gpu::attend_args a;
    a.dims = dims;
    a.scale = 0.125F;
    a.q = q.ref;
    a.sequences = {&seq, 1};
    a.out = {reinterpret_cast<std::byte*>(out.data()), dtype::f32, 256, 64};
    a.lse = lse.data();
    gpu::serial_executor exec;
    gpu::host_kernels().attend(a, exec);
  }

  void merge(std::vector<float>& out, std::vector<float>& lse) {
    std::vector<const float*> o, l;
    for (std::size_t i = 0; i < outs.size(); ++i) {
      o.push_back(outs[i].data());
      l.push_back(lses[i].data());
    }
    out.assign(full_out.size(), NAN);
    lse.assign(full_lse.size(), NAN);
    const gpu::tensor_ref ref{reinterpret_cast<std::byte*>(out.data()), dtype::f32, 256, 64};
    gpu::serial_executor exec;
    gpu::host_kernels().merge({dims, static_cast<std::uint32_t>(rows), o, l, ref, lse.data()},
                              exec);
  }
};

TEST(merge_kernel, random_splits_equal_the_whole) {
  for (const std::size_t parts :
       {std::size_t{1}, std::size_t{2}, std::size_t{5}, std::size_t{40}}) {
    split_attend x(parts, parts); // with 40 parts some are empty
    std::vector<float> out, lse;
    x.merge(out, lse);
    for (std::size_t i = 0; i < out.size(); ++i)
      ASSERT_NEAR(out[i], x.full_out[i], 2e-6F);
    for (std::size_t i = 0; i < lse.size(); ++i)
      ASSERT_NEAR(lse[i], x.full_lse[i], 1e-5F);
  }
}

TEST(merge_kernel, empty_partials_give_zero_and_minus_infinity) {
  split_attend x(3, 2);
  for (std::size_t i = 0; i < 2; ++i) {
    std::fill(x.lses[i].begin(), x.lses[i].end(), -INFINITY);
    std::fill(x.outs[i].begin(), x.outs[i].end(), NAN); // an empty partial's output is not read
  }
  std::vector<float> out, lse;
  x.merge(out, lse);
  for (const float y : out)
    ASSERT_EQ(y, 0.0F);
  for (const float y : lse)
    ASSERT_EQ(y, -INFINITY);
}

TEST(audit_kernel, measures_coverage_and_output_error) {
  split_attend x(4, 3);
  double coverage = 0, error = 0, squares = 0, norm = 0, mass = 0;
  const gpu::tensor_ref out{reinterpret_cast<std::byte*>(x.outs[0].data()), dtype::f32, 256, 64};
  gpu::serial_executor exec;
  gpu::host_kernels().audit({x.dims, static_cast<std::uint32_t>(x.rows), out, x.lses[0].data(),
                             x.full_out.data(), x.full_lse.data(), &coverage, &error},
                            exec);
  for (std::size_t i = 0; i < x.full_out.size(); ++i) {
    const double full = x.full_out[i];
    squares += (x.outs[0][i] - full) * (x.outs[0][i] - full);
    norm += full * full;
  }
  for (std::size_t i = 0; i < x.full_lse.size(); ++i)
    mass += std::exp(static_cast<double>(x.lses[0][i]) - x.full_lse[i])
            / static_cast<double>(x.full_lse.size());
  EXPECT_NEAR(coverage, mass, 1e-9);
  EXPECT_NEAR(error, std::sqrt(squares / norm), 1e-9);
  EXPECT_GT(error, 0.1);
  EXPECT_LT(coverage, 0.9);
}

} // namespace
} // namespace pikv
