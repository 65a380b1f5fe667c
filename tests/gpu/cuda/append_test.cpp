// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include <pikv/gpu/cuda/append.hpp>

#include "gpu/cuda/device_fixture.hpp"

namespace pikv {
namespace {

using gpu::cache_dims;

class cuda_append : public test::gpu_test {};

struct append_case {
  cache_dims dims;
  form stored = form::f16;
  dtype type = dtype::f16;
  layout order = layout::nhd;
  std::uint32_t pages = 6, first_slot = 3, rows = 0; ///< rows 0: all but a few of the slots
  bool shuffled = false, odd_stride = false, copies = true;
  std::uint64_t seed = 1;
};

/// Rows on the host and the device.
struct rows_of {
  test::tensor host;
  test::device_tensor device;

  rows_of(std::mt19937_64& rng, const append_case& c, std::size_t rows)
      : host(make(rng, c, rows)),
        device(host, (rows + 1) * c.dims.kv_heads * (c.dims.head_dim + padding(c))) {}

  static std::size_t padding(const append_case& c) { return c.odd_stride ? 3 : 0; }

  static test::tensor make(std::mt19937_64& rng, const append_case& c, std::size_t rows) {
    return test::random_tensor(rng, c.type, rows + 1, c.dims.kv_heads, c.dims.head_dim + padding(c),
                               1, c.order);
  }
};

std::vector<gpu::append_target> targets_of(const append_case& c, std::mt19937_64& rng,
                                           const test::device_blocks& pages, std::uint32_t rows) {
  std::vector<gpu::append_target> targets;
  for (std::uint32_t r = 0; r < rows; ++r) {
    const std::uint32_t at = r + c.first_slot;
    targets.push_back({pages.at(at / c.dims.page_tokens), r,
                       static_cast<std::uint16_t>(at % c.dims.page_tokens)});
  }
  if (c.shuffled)
    std::shuffle(targets.begin(), targets.end(), rng);
  return targets;
}

void expect_appended(const append_case& c) {
  SCOPED_TRACE(testing::Message() << to_string(c.type) << " to " << to_string(c.stored) << " dim "
                                  << c.dims.head_dim << " page " << c.dims.page_tokens << " heads "
                                  << c.dims.kv_heads << " seed " << c.seed);
  std::mt19937_64 rng(c.seed);
  const std::uint32_t rows = c.rows > 0 ? c.rows : c.pages * c.dims.page_tokens - c.first_slot - 2;
  const rows_of k(rng, c, rows), v(rng, c, rows);
  const auto lay = gpu::layout_of(c.dims, c.stored);
  const test::device_blocks pages(c.pages, lay.page_bytes);
  const test::device_array<gpu::append_target> targets(targets_of(c, rng, pages, rows));
  const auto ok = gpu::cuda::append(
      {c.dims, c.stored, k.device.ref, v.device.ref, rows, targets.data()}, nullptr);
  ASSERT_TRUE(ok) << ok.error().what;
  test::synchronise();
  const double relative = raw_form(c.type) == c.stored || c.stored == form::f32 ? 0
                          : c.stored == form::f16                               ? 5e-4
                                                                                : 4e-3;
  const double absolute = relative > 0 ? 1e-7 : 0;
  for (std::uint32_t i = 0; i < c.pages; ++i) {
    auto memory = pages.download(i);
    gpu::page_view page;
    page.data = memory.data();
    page.stored = c.stored;
    test::for_values(c.dims, c.dims.page_tokens, [&](std::size_t h, std::size_t t, std::size_t ch) {
      const std::size_t at = i * c.dims.page_tokens + t;
      const double got_k = test::stored_k(c.dims, page, h, t, ch);
      const double got_v = test::stored_v(c.dims, page, h, t, ch);
      if (at < c.first_slot || at - c.first_slot >= rows) {
        ASSERT_TRUE(std::isnan(got_k) && std::isnan(got_v)) << "a slot that is not ours";
        return;
      }
      const double want_k = test::tensor_value(k.host.ref, at - c.first_slot, h, ch);
      const double want_v = test::tensor_value(v.host.ref, at - c.first_slot, h, ch);
      ASSERT_NEAR(got_k, want_k, relative * std::abs(want_k) + absolute) << i << " " << t;
      ASSERT_NEAR(got_v, want_v, relative * std::abs(want_v) + absolute) << i << " " << t;
    });
  }
}

TEST_F(cuda_append, puts_every_row_in_its_slot) {
  for (const form stored : {form::f32, form::f16, form::bf16})
    for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16})
      for (const layout order : {layout::nhd, layout::hnd})
        for (const std::uint32_t page_tokens : {8U, 16U, 32U, 64U})
          expect_appended(
              {.dims = {4, 2, 64, page_tokens}, .stored = stored, .type = type, .order = order});
}

TEST_F(cuda_append, takes_any_shape_and_any_count) {
  for (std::uint64_t seed = 0; seed < 24; ++seed) {
    std::mt19937_64 rng(seed);
    append_case c{.dims = test::random_dims(rng), .seed = seed};
    c.first_slot = test::between(rng, 0, c.dims.page_tokens - 1);
    c.rows = test::between(rng, 1, 5 * c.dims.page_tokens);
    c.stored = static_cast<form>(test::between(rng, 0, 2));
    c.type = static_cast<dtype>(test::between(rng, 0, 2));
    c.shuffled = seed % 4 == 3;
    c.odd_stride = seed % 3 == 1;
    expect_appended(c);
  }
}

TEST_F(cuda_append, whole_pages_at_once) {
  for (const std::uint32_t page_tokens : {8U, 16U, 32U, 64U})
    expect_appended(
        {.dims = {8, 8, 128, page_tokens}, .pages = 10, .first_slot = 0, .rows = 9 * page_tokens});
}

TEST_F(cuda_append, single_tokens_of_many_pages) {
  std::mt19937_64 rng(4);
  const append_case c{.dims = {4, 2, 128, 16}};
  const rows_of k(rng, c, 50), v(rng, c, 50);
  const test::device_blocks pages(50, gpu::layout_of(c.dims, c.stored).page_bytes);
  std::vector<gpu::append_target> list;
  for (std::uint32_t i = 0; i < 50; ++i)
    list.push_back({pages.at(i), 49 - i, static_cast<std::uint16_t>(i % 16)});
  const test::device_array<gpu::append_target> targets(list);
  ASSERT_TRUE(gpu::cuda::append({c.dims, c.stored, k.device.ref, v.device.ref, 50, targets.data()},
                                nullptr));
  test::synchronise();
  for (std::uint32_t i = 0; i < 50; ++i) {
    auto memory = pages.download(i);
    gpu::page_view page;
    page.data = memory.data();
    page.stored = c.stored;
    for (std::size_t h = 0; h < 2; ++h)
      for (std::size_t ch = 0; ch < 128; ++ch) {
        ASSERT_EQ(test::stored_k(c.dims, page, h, i % 16, ch),
                  test::tensor_value(k.host.ref, 49 - i, h, ch));
        ASSERT_EQ(test::stored_v(c.dims, page, h, i % 16, ch),
                  test::tensor_value(v.host.ref, 49 - i, h, ch));
      }
  }
}

/// Appends in two goes and compares summaries and encoded copies with those of the host.
void expect_completed(const append_case& c, form coded, std::uint32_t split) {
  SCOPED_TRACE(testing::Message() << to_string(coded) << " dim " << c.dims.head_dim << " page "
                                  << c.dims.page_tokens << " split " << split);
  std::mt19937_64 rng(c.seed);
  const std::uint32_t rows = c.pages * c.dims.page_tokens;
  const rows_of k(rng, c, rows), v(rng, c, rows);
  const std::uint8_t parts = gpu::summary_mean_var | gpu::summary_min_max;
  const auto sums = gpu::summary_layout_of(c.dims, parts);
  const test::device_blocks pages(c.pages, gpu::layout_of(c.dims, c.stored).page_bytes);
  const test::device_blocks summaries(c.pages, sums.bytes);
  const test::device_blocks copies(c.pages, gpu::layout_of(c.dims, coded).page_bytes);
  const test::device_array<gpu::codec_error> errors(c.pages);
  const test::device_array<gpu::append_target> targets(targets_of(c, rng, pages, rows));
  std::vector<gpu::cuda::append_completion> list(rows);
  for (std::uint32_t i = 0; i < rows; ++i) {
    const std::uint32_t page = i / c.dims.page_tokens;
    list[i] = {summaries.at(page), copies.at(page), errors.data() + page};
  }
  const test::device_array<gpu::cuda::append_completion> completions(list);
  for (const auto& [begin, n] : {std::pair{0U, split}, std::pair{split, rows - split}}) {
    gpu::cuda::append_complete_launch x;
    x.append = {c.dims, c.stored, k.device.ref, v.device.ref, n, targets.data() + begin};
    x.parts = parts;
    x.coded = coded;
    x.with_copies = c.copies;
    x.completions = completions.data() + begin;
    const auto ok = gpu::cuda::append_complete(x, nullptr);
    ASSERT_TRUE(ok) << ok.error().what;
  }
  test::synchronise();
  const auto got_errors = errors.download();
  for (std::uint32_t i = 0; i < c.pages; ++i) {
    test::page_set want;
    want.memory.push_back(pages.download(i));
    gpu::page_view view;
    view.data = want.memory[0].data();
    view.tokens = static_cast<std::uint16_t>(c.dims.page_tokens);
    view.stored = c.stored;
    want.views.push_back(view);
    want.summarise(c.dims, parts);
    auto summary = summaries.download(i);
    for (std::size_t at = 0; at < sums.bytes / 2; ++at) {
      const auto x = test::read_at<std::uint16_t>(summary.data(), at);
      const auto y = test::read_at<std::uint16_t>(want.views[0].summary, at);
      if (std::abs(test::f16_rank(x) - test::f16_rank(y)) > 1) {
        ASSERT_NEAR(test::f16_value(x), test::f16_value(y), 1e-5) << "page " << i << " at " << at;
      }
    }
    if (!c.copies)
      continue;
    const auto want_errors = want.encode(c.dims, coded)[0];
    auto copy = copies.download(i);
    view.data = copy.data();
    view.stored = coded;
    test::for_values(c.dims, c.dims.page_tokens, [&](std::size_t h, std::size_t t, std::size_t ch) {
      ASSERT_EQ(test::stored_k(c.dims, view, h, t, ch),
                test::stored_k(c.dims, want.views[0], h, t, ch));
      ASSERT_EQ(test::stored_v(c.dims, view, h, t, ch),
                test::stored_v(c.dims, want.views[0], h, t, ch));
    });
    EXPECT_TRUE(got_errors[i].representable);
    EXPECT_NEAR(got_errors[i].k_error, want_errors.k_error, 2e-3 * want_errors.k_error);
    EXPECT_NEAR(got_errors[i].v_norm, want_errors.v_norm, 1e-4 * want_errors.v_norm);
  }
}

TEST_F(cuda_append, completed_pages_get_their_summary_and_copy) {
  for (std::uint64_t seed = 0; seed < 9; ++seed)
    for (const form coded : {form::int8, form::int4, form::fp8}) {
      std::mt19937_64 rng(seed);
      append_case c{.dims = test::random_dims(rng), .pages = 4, .first_slot = 0, .seed = seed};
      c.stored = static_cast<form>(seed % 3);
      c.type = static_cast<dtype>(seed % 3);
      c.copies = seed % 4 != 3;
      expect_completed(c, coded, test::between(rng, 1, 4 * c.dims.page_tokens - 1));
    }
}

TEST_F(cuda_append, wrong_arguments_are_refused) {
  gpu::cuda::append_launch x;
  x.dims = {2, 2, 64, 16};
  x.stored = form::int8;
  x.count = 1;
  EXPECT_EQ(gpu::cuda::append(x, nullptr).code(), errc::invalid_argument);
  x.stored = form::f16;
  x.dims.page_tokens = 24;
  EXPECT_EQ(gpu::cuda::append(x, nullptr).code(), errc::invalid_argument);
}

} // namespace
} // namespace pikv
