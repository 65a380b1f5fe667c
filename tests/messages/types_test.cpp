// SPDX-License-Identifier: Apache-2.0
#include <pikv/messages/types.hpp>

#include <type_traits>
#include <unordered_set>

#include <gtest/gtest.h>

namespace pikv {
namespace {

static_assert(!std::is_convertible_v<device_id, shard_id>);
static_assert(!std::is_constructible_v<lane_id, device_id>);

TEST(strong_id, compares_by_value) {
  EXPECT_EQ((sequence_id{3}), (sequence_id{3}));
  EXPECT_LT((shard_id{1}), (shard_id{2}));
}

TEST(strong_id, can_be_a_key) {
  const std::unordered_set<ticket_id> keys{{1}, {2}, {1}};
  EXPECT_EQ(keys.size(), 2u);
}

TEST(form, names) {
  EXPECT_EQ(to_string(form::f32), "f32");
  EXPECT_EQ(to_string(form::f16), "f16");
  EXPECT_EQ(to_string(form::bf16), "bf16");
  EXPECT_EQ(to_string(form::int8), "int8");
  EXPECT_EQ(to_string(form::int4), "int4");
  EXPECT_EQ(to_string(form::fp8), "fp8");
  EXPECT_EQ(to_string(form::int3), "int3");
  EXPECT_EQ(to_string(form::int2), "int2");
  EXPECT_EQ(to_string(form::k4v2), "k4v2");
  EXPECT_EQ(to_string(form::k3v2), "k3v2");
}

TEST(form, raw_are_those_of_the_element_types) {
  for (const auto x : {dtype::f32, dtype::f16, dtype::bf16}) {
    EXPECT_TRUE(is_raw(raw_form(x)));
    EXPECT_EQ(to_string(raw_form(x)), to_string(x));
  }
  EXPECT_FALSE(is_raw(form::int8));
  EXPECT_FALSE(is_raw(form::int4));
  EXPECT_FALSE(is_raw(form::fp8));
}

TEST(dtype, sizes_in_bytes) {
  EXPECT_EQ(size_of(dtype::f32), 4u);
  EXPECT_EQ(size_of(dtype::f16), 2u);
  EXPECT_EQ(size_of(dtype::bf16), 2u);
}

TEST(layout, names) {
  EXPECT_EQ(to_string(layout::nhd), "nhd");
  EXPECT_EQ(to_string(layout::hnd), "hnd");
}

TEST(model_shape, group_is_query_heads_per_kv_head) {
  const model_shape x{.layers = 2, .query_heads = 32, .kv_heads = 8, .head_dim = 128, .experts = 0};
  EXPECT_EQ(x.group(), 4u);
}

TEST(entry_account, sums_field_by_field) {
  entry_account x{15, 1, 2, 3, 4, 5};
  x += {150, 10, 20, 30, 40, 50};
  EXPECT_EQ(x, (entry_account{165, 11, 22, 33, 44, 55}));
}

TEST(entry_account, adds_up_only_when_nothing_is_missing) {
  const entry_account good{15, 1, 2, 3, 4, 5};
  EXPECT_TRUE(good.adds_up());
  for (auto field : {&entry_account::existing, &entry_account::read, &entry_account::not_routed,
                     &entry_account::not_selected, &entry_account::evicted, &entry_account::lost}) {
    auto bad = good;
    ++(bad.*field);
    EXPECT_FALSE(bad.adds_up());
  }
}

} // namespace
} // namespace pikv
