// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <pikv/gpu/device.hpp>
#include <pikv/gpu/page_layout.hpp>

namespace pikv::gpu {
namespace {

template <class F>
void for_all_layouts(F f) {
  for (const form stored : all_forms)
    for (const std::uint32_t page_tokens : {8U, 16U, 32U, 64U})
      for (std::uint32_t dim = 32; dim <= 256; dim += 32) {
        const cache_dims dims{8, 4, dim, page_tokens};
        f(dims, layout_of(dims, stored));
      }
}

TEST(page_layout, offsets_are_multiples_of_64) {
  for_all_layouts([](const cache_dims&, const page_layout& x) {
    for (const std::size_t offset :
         {x.k_offset, x.v_offset, x.k_scale_offset, x.v_scale_offset, x.head_bytes, x.page_bytes})
      EXPECT_EQ(offset % 64, 0U);
  });
}

TEST(page_layout, parts_do_not_overlap) {
  for_all_layouts([](const cache_dims& dims, const page_layout& x) {
    const std::size_t values = std::size_t{dims.head_dim} * dims.page_tokens;
    EXPECT_GE(x.v_offset, x.k_offset + values * x.packing.k_bits / 8);
    EXPECT_GE(x.head_bytes, x.v_offset + values * x.packing.v_bits / 8);
    if (is_raw(x.stored))
      return;
    EXPECT_GE(x.k_scale_offset, x.v_offset + values * x.packing.v_bits / 8);
    if (x.stored == form::fp8) {
      EXPECT_GE(x.v_scale_offset, x.k_scale_offset + sizeof(float));
      EXPECT_GE(x.head_bytes, x.v_scale_offset + sizeof(float));
      return;
    }
    EXPECT_GE(x.v_scale_offset, x.k_scale_offset + values / x.k_group * 4);
    EXPECT_GE(x.head_bytes, x.v_scale_offset + values / x.v_group * 4);
  });
}

TEST(page_layout, a_page_is_its_heads) {
  for_all_layouts([](const cache_dims& dims, const page_layout& x) {
    EXPECT_EQ(x.page_bytes, x.head_bytes * dims.kv_heads);
  });
}

TEST(page_layout, int4_takes_five_bits_a_value_with_groups_of_32) {
  const cache_dims dims{32, 8, 128, 32};
  EXPECT_EQ(layout_of(dims, form::int4).page_bytes * 8, std::size_t{8} * 2 * 128 * 32 * 5);
}

TEST(page_layout, a_page_of_integers_takes_its_bits_and_its_scales) {
  const cache_dims dims{32, 8, 128, 16}; // K: 2 bits a value for scales, V: 1
  const auto bits = [&](form x) { return layout_of(dims, x).page_bytes * 8 / (8 * 128 * 16); };
  EXPECT_EQ(bits(form::int8), 8U + 8 + 3);
  EXPECT_EQ(bits(form::int4), 4U + 4 + 3);
  EXPECT_EQ(bits(form::int3), 3U + 3 + 3);
  EXPECT_EQ(bits(form::int2), 2U + 2 + 3);
  EXPECT_EQ(bits(form::k4v2), 4U + 2 + 3);
  EXPECT_EQ(bits(form::k3v2), 3U + 2 + 3);
}

TEST(page_layout, a_summary_holds_only_its_parts) {
  const cache_dims dims{8, 4, 64, 16};
  EXPECT_EQ(summary_layout_of(dims, summary_none).bytes, 0U);
  EXPECT_EQ(summary_layout_of(dims, summary_mean_var).bytes, 4U * 64 * 2 * 2);
  EXPECT_EQ(summary_layout_of(dims, summary_min_max).bytes, 4U * 64 * 2 * 2);
  const auto both = summary_layout_of(dims, summary_mean_var | summary_min_max);
  EXPECT_EQ(both.bytes, 4U * 64 * 4 * 2);
  EXPECT_GE(both.min_offset, both.var_offset + 64 * 2);
}

} // namespace
} // namespace pikv::gpu
