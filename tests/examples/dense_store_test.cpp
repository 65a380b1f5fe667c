// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <moe_engine/dense_store.hpp>

namespace pikv::moe_engine {
namespace {

constexpr model_shape shape{2, 4, 2, 16, 4};

class dense : public testing::Test {
protected:
  thread_team team{2};
  dense_store kv{shape, dtype::f32, team};
  sequence_id id = *kv.open();

  result<void> append(std::uint32_t layer, std::uint32_t position, std::uint32_t tokens) {
    const std::vector<float> x(std::size_t{tokens} * 2 * 16, 1.0F);
    const batch_part parts[] = {{id, position, tokens}};
    return kv.append(layer, parts, x, x);
  }
  result<entry_account> attend(std::uint32_t layer, std::uint32_t position, std::uint32_t tokens) {
    std::vector<float> q(std::size_t{tokens} * 4 * 16);
    std::vector<float> out(q.size());
    const batch_part parts[] = {{id, position, tokens}};
    return kv.attend(layer, parts, q, out, {});
  }
};

TEST_F(dense, counts_rows_heads_and_entries) {
  ASSERT_TRUE(append(0, 0, 5).ok());
  const auto entries = attend(0, 3, 2);
  ASSERT_TRUE(entries.ok());
  EXPECT_EQ(entries->existing, 2U * (4 + 5));
  EXPECT_EQ(entries->read, entries->existing);
  EXPECT_TRUE(entries->adds_up());
}

TEST_F(dense, gap_in_positions_is_refused) {
  ASSERT_TRUE(append(0, 0, 5).ok());
  EXPECT_EQ(append(0, 6, 1).code(), errc::position_gap);
  EXPECT_EQ(append(0, 4, 1).code(), errc::position_gap);
}

TEST_F(dense, queries_without_their_entries_are_refused) {
  EXPECT_EQ(attend(0, 0, 1).code(), errc::position_gap);
}

TEST_F(dense, layer_beyond_the_model_is_refused) {
  EXPECT_EQ(append(2, 0, 1).code(), errc::out_of_range);
}

TEST_F(dense, closed_sequence_is_unknown) {
  ASSERT_TRUE(kv.close(id).ok());
  EXPECT_EQ(append(0, 0, 1).code(), errc::unknown_sequence);
  EXPECT_EQ(kv.close(id).code(), errc::unknown_sequence);
}

TEST_F(dense, bytes_are_those_of_its_blocks_and_go_with_the_sequence) {
  EXPECT_EQ(*kv.bytes(), 0U);
  ASSERT_TRUE(append(1, 0, 129).ok());
  EXPECT_EQ(*kv.bytes(), 2U /*blocks*/ * 2 /*heads*/ * 128 * (16 + 32) * sizeof(float));
  ASSERT_TRUE(kv.close(id).ok());
  EXPECT_EQ(*kv.bytes(), 0U);
}

TEST_F(dense, buffers_of_a_wrong_size_are_refused) {
  const std::vector<float> x(7);
  const batch_part parts[] = {{id, 0, 1}};
  EXPECT_EQ(kv.append(0, parts, x, x).code(), errc::shape_mismatch);
  EXPECT_EQ(kv.annotate(0, parts, x).code(), errc::shape_mismatch);
}

} // namespace
} // namespace pikv::moe_engine
