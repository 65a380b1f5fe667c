// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include <pikv/gpu/cuda/summary.hpp>

#include "gpu/cuda/device_fixture.hpp"

namespace pikv {
namespace {

using gpu::cache_dims;

constexpr auto both_parts =
    static_cast<gpu::summary_part>(gpu::summary_mean_var | gpu::summary_min_max);

class cuda_summary : public test::gpu_test {};

void expect_as_host(const cache_dims& dims, std::uint8_t parts, test::page_set& pages) {
  const test::device_pages in(dims, pages.views);
  const auto lay = gpu::summary_layout_of(dims, parts);
  const test::device_blocks out(pages.views.size(), lay.bytes);
  const test::device_array<std::byte*> outs(out.all());
  ASSERT_TRUE(gpu::cuda::summarise(
      {dims, parts, static_cast<std::uint32_t>(pages.views.size()), in.table.data(), outs.data()},
      nullptr));
  test::synchronise();
  pages.summarise(dims, parts);
  for (std::size_t i = 0; i < pages.views.size(); ++i) {
    auto got = out.download(i);
    for (std::size_t h = 0; h < dims.kv_heads; ++h)
      for (std::size_t at = 0; at < lay.head_bytes / 2; ++at) {
        const auto x = test::read_at<std::uint16_t>(got.data() + h * lay.head_bytes, at);
        const auto y =
            test::read_at<std::uint16_t>(pages.views[i].summary + h * lay.head_bytes, at);
        const bool range = (parts & gpu::summary_min_max) != 0 && 2 * at >= lay.min_offset;
        // Sums are taken in another order: a moment may round to the neighbour, near 0 further.
        const double slack = range ? 0 : 1e-5;
        if (std::abs(test::f16_rank(x) - test::f16_rank(y)) > (range ? 0 : 1)) {
          ASSERT_NEAR(test::f16_value(x), test::f16_value(y), slack)
              << "page " << i << " at " << at;
        }
      }
  }
}

TEST_F(cuda_summary, equals_the_hosts_for_every_form_and_shape) {
  for (std::uint64_t seed = 0; seed < 12; ++seed)
    for (std::size_t f = 0; f <= static_cast<std::size_t>(form::fp8); ++f)
      for (const std::uint8_t parts : {gpu::summary_mean_var, gpu::summary_min_max, both_parts}) {
        std::mt19937_64 rng(seed);
        const cache_dims dims = test::random_dims(rng);
        const auto stored = static_cast<form>(f);
        test::page_set pages;
        for (std::uint32_t i = 0; i < 4; ++i)
          pages.add(rng, dims, is_raw(stored) ? stored : form::f16,
                    i < 2 ? dims.page_tokens : test::between(rng, 1, dims.page_tokens), 0);
        if (!is_raw(stored))
          pages.encode(dims, stored);
        SCOPED_TRACE(testing::Message()
                     << "seed " << seed << " form " << to_string(stored) << " parts " << int(parts)
                     << " dim " << dims.head_dim << " page " << dims.page_tokens);
        expect_as_host(dims, parts, pages);
        if (HasFatalFailure())
          return;
      }
}

TEST_F(cuda_summary, values_beyond_f16_are_clamped_to_finite) {
  std::mt19937_64 rng(15);
  const cache_dims dims{1, 1, 32, 8};
  test::page_set pages;
  pages.add(rng, dims, form::f32, 8, 0, 1e6F);
  expect_as_host(dims, 3, pages);
}

TEST_F(cuda_summary, pages_without_data_are_left_alone) {
  std::mt19937_64 rng(16);
  const cache_dims dims{1, 1, 32, 8};
  test::page_set pages;
  pages.add(rng, dims, form::f16, 8, 0);
  pages.views[0].data = nullptr;
  const test::device_pages in(dims, pages.views);
  const test::device_blocks out(1, 128);
  const test::device_array<std::byte*> outs(out.all());
  ASSERT_TRUE(gpu::cuda::summarise({dims, 1, 1, in.table.data(), outs.data()}, nullptr));
  test::synchronise();
  auto got = out.download(0);
  for (std::size_t i = 0; i < 128; ++i)
    ASSERT_EQ(got.data()[i], std::byte{0xFF});
}

} // namespace
} // namespace pikv
