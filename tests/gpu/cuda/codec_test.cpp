// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include <pikv/gpu/cuda/codec.hpp>

#include "gpu/cuda/device_fixture.hpp"

namespace pikv {
namespace {

using gpu::cache_dims;

class cuda_codec : public test::gpu_test {};

constexpr form coded_forms[] = {form::int8, form::int4, form::fp8};
constexpr form raw_forms[] = {form::f32, form::f16, form::bf16};

struct encoded {
  std::vector<gpu::page_view> views; ///< with host addresses
  std::vector<test::aligned_bytes> memory;
  std::vector<gpu::codec_error> errors;
};

encoded encode_on_device(const cache_dims& dims, form raw, form target,
                         std::span<const gpu::page_view> pages) {
  encoded x;
  const test::device_pages in(dims, pages);
  const test::device_blocks out(pages.size(), gpu::layout_of(dims, target).page_bytes);
  const test::device_array<std::byte*> outs(out.all());
  const test::device_array<gpu::codec_error> errors(pages.size());
  const auto ok = gpu::cuda::encode({dims, raw, target, static_cast<std::uint32_t>(pages.size()),
                                     in.table.data(), outs.data(), errors.data()},
                                    nullptr);
  EXPECT_TRUE(ok) << ok.error().what;
  test::synchronise();
  x.errors = errors.download();
  for (std::size_t i = 0; i < pages.size(); ++i) {
    auto& view = x.views.emplace_back(pages[i]);
    view.data = x.memory.emplace_back(out.download(i)).data();
    view.stored = target;
  }
  return x;
}

void expect_same(const cache_dims& dims, const gpu::page_view& got, const gpu::page_view& want) {
  test::for_values(dims, want.tokens, [&](std::size_t h, std::size_t t, std::size_t c) {
    ASSERT_EQ(test::stored_k(dims, got, h, t, c), test::stored_k(dims, want, h, t, c))
        << to_string(want.stored) << " head " << h << " slot " << t << " channel " << c;
    ASSERT_EQ(test::stored_v(dims, got, h, t, c), test::stored_v(dims, want, h, t, c))
        << to_string(want.stored) << " head " << h << " slot " << t << " channel " << c;
  });
}

TEST_F(cuda_codec, encodes_as_the_host_does) {
  for (std::uint64_t seed = 0; seed < 10; ++seed)
    for (const form raw : raw_forms)
      for (const form target : coded_forms) {
        std::mt19937_64 rng(seed);
        const cache_dims dims = test::random_dims(rng);
        test::page_set pages;
        for (std::uint32_t i = 0; i < 5; ++i)
          pages.add(rng, dims, raw,
                    i % 2 == 0 ? dims.page_tokens : test::between(rng, 1, dims.page_tokens), 0,
                    i == 3 ? 100.0F : 1.0F);
        const auto got = encode_on_device(dims, raw, target, pages.views);
        const auto errors = pages.encode(dims, target);
        for (std::size_t i = 0; i < 5; ++i) {
          SCOPED_TRACE(testing::Message()
                       << "seed " << seed << " from " << to_string(raw) << " dim " << dims.head_dim
                       << " page " << dims.page_tokens << " page " << i);
          expect_same(dims, got.views[i], pages.views[i]);
          EXPECT_NEAR(got.errors[i].k_error, errors[i].k_error, 2e-3 * errors[i].k_error + 1e-9);
          EXPECT_NEAR(got.errors[i].v_error, errors[i].v_error, 2e-3 * errors[i].v_error + 1e-9);
          EXPECT_NEAR(got.errors[i].k_norm, errors[i].k_norm, 1e-4 * errors[i].k_norm);
          EXPECT_NEAR(got.errors[i].v_norm, errors[i].v_norm, 1e-4 * errors[i].v_norm);
          EXPECT_TRUE(got.errors[i].representable);
          if (HasFatalFailure())
            return;
        }
      }
}

TEST_F(cuda_codec, equal_values_come_back) {
  const cache_dims dims{1, 1, 32, 8};
  for (const form target : coded_forms)
    for (const float value : {0.0F, 1.5F}) {
      std::mt19937_64 rng(3);
      test::page_set pages;
      pages.add(rng, dims, form::f32, 8, 0, 0);
      for (std::size_t i = 0; i < 2 * 32 * 8; ++i)
        test::put(pages.memory[0].data(), dtype::f32, i, value);
      const auto got = encode_on_device(dims, form::f32, target, pages.views);
      ASSERT_TRUE(got.errors[0].representable);
      EXPECT_LE(got.errors[0].k_error, 1e-12);
      const double slack = target == form::fp8 ? 1e-6 : 0; // its scale is rounded
      test::for_values(dims, 8, [&](std::size_t h, std::size_t t, std::size_t c) {
        ASSERT_NEAR(test::stored_k(dims, got.views[0], h, t, c), value, slack);
        ASSERT_NEAR(test::stored_v(dims, got.views[0], h, t, c), value, slack);
      });
    }
}

TEST_F(cuda_codec, values_that_do_not_fit_are_not_representable) {
  for (const form target : coded_forms)
    for (const form raw : raw_forms)
      for (const float bad : {1e8F, -1e6F, INFINITY, -INFINITY, NAN}) {
        if (std::isfinite(bad) && (target == form::fp8 || raw == form::f16))
          continue; // fp8 has an f32 scale; f16 holds no such value
        for (const bool in_k : {true, false}) {
          std::mt19937_64 rng(5);
          const cache_dims dims{1, 1, 32, 16};
          test::page_set pages;
          pages.add(rng, dims, raw, 16, 0);
          const auto lay = gpu::layout_of(dims, raw);
          test::put(pages.memory[0].data() + (in_k ? lay.k_offset : lay.v_offset),
                    test::raw_dtype(raw), 37, bad);
          const auto got = encode_on_device(dims, raw, target, pages.views);
          EXPECT_FALSE(got.errors[0].representable) << to_string(target) << " " << bad;
        }
      }
}

TEST_F(cuda_codec, a_page_of_another_form_is_not_representable) {
  std::mt19937_64 rng(6);
  const cache_dims dims{1, 1, 32, 16};
  test::page_set pages;
  pages.add(rng, dims, form::bf16, 16, 0);
  EXPECT_FALSE(encode_on_device(dims, form::f16, form::int8, pages.views).errors[0].representable);
}

TEST_F(cuda_codec, pages_without_data_have_no_error) {
  std::mt19937_64 rng(7);
  const cache_dims dims{2, 2, 64, 16};
  test::page_set pages;
  pages.add(rng, dims, form::f16, 16, 0);
  pages.add(rng, dims, form::f16, 16, 16);
  pages.views[0].data = nullptr;
  const auto got = encode_on_device(dims, form::f16, form::int4, pages.views);
  EXPECT_TRUE(got.errors[0].representable);
  EXPECT_EQ(got.errors[0].k_norm, 0);
  EXPECT_GT(got.errors[1].k_norm, 0);
}

TEST_F(cuda_codec, decodes_the_stored_values_in_any_raw_form) {
  for (std::uint64_t seed = 0; seed < 8; ++seed)
    for (const form target : raw_forms) {
      std::mt19937_64 rng(seed);
      const cache_dims dims = test::random_dims(rng);
      std::vector<test::page_set> sets(6);
      std::vector<gpu::page_view> views;
      for (std::size_t i = 0; i < 6; ++i) { // all forms in one launch
        const auto stored = static_cast<form>(i);
        sets[i].add(rng, dims, is_raw(stored) ? stored : form::f32,
                    seed % 2 == 0 ? dims.page_tokens : test::between(rng, 1, dims.page_tokens), 0);
        if (!is_raw(stored))
          sets[i].encode(dims, stored);
        views.push_back(sets[i].views[0]);
      }
      const test::device_pages in(dims, views);
      const test::device_blocks out(6, gpu::layout_of(dims, target).page_bytes);
      const test::device_array<std::byte*> outs(out.all());
      ASSERT_TRUE(gpu::cuda::decode({dims, target, 6, in.table.data(), outs.data()}, nullptr));
      test::synchronise();
      const double relative = target == form::f32 ? 1e-6 : target == form::f16 ? 5e-4 : 4e-3;
      for (std::size_t i = 0; i < 6; ++i) {
        auto memory = out.download(i);
        gpu::page_view got = views[i];
        got.data = memory.data();
        got.stored = target;
        test::for_values(dims, got.tokens, [&](std::size_t h, std::size_t t, std::size_t c) {
          const double k = test::stored_k(dims, views[i], h, t, c);
          const double v = test::stored_v(dims, views[i], h, t, c);
          ASSERT_NEAR(test::stored_k(dims, got, h, t, c), k, relative * std::abs(k) + 1e-6) << i;
          ASSERT_NEAR(test::stored_v(dims, got, h, t, c), v, relative * std::abs(v) + 1e-6) << i;
        });
      }
    }
}

TEST_F(cuda_codec, shapes_that_no_cache_has_are_refused) {
  EXPECT_EQ(gpu::cuda::encode({.dims = {4, 3, 64, 16}, .count = 1}, nullptr).code(),
            errc::invalid_argument);
  EXPECT_EQ(gpu::cuda::decode({.dims = {4, 4, 40, 16}, .count = 1}, nullptr).code(),
            errc::invalid_argument);
  EXPECT_EQ(gpu::cuda::encode({.dims = {4, 4, 64, 16}, .target = form::f16}, nullptr).code(),
            errc::invalid_argument);
}

} // namespace
} // namespace pikv
