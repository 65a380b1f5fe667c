// SPDX-License-Identifier: Apache-2.0
#include <array>

#include <gtest/gtest.h>

#include <pikv/actors/router/lane_sequences.hpp>

namespace {

using namespace pikv;

constexpr std::uint32_t experts = 3;

/// Logits whose row `t` prefers expert `top[t]`.
std::vector<float> logits_for(std::initializer_list<int> top) {
  std::vector<float> x;
  for (int e : top)
    for (int i = 0; i < static_cast<int>(experts); ++i)
      x.push_back(i == e ? 2.0F : 0.5F * static_cast<float>(i));
  return x;
}

std::vector<std::uint16_t> known(const gate_record& g, std::uint32_t position, std::uint32_t n) {
  auto x = top_experts(g, position, n);
  return {x.begin(), x.end()};
}

using experts_list = std::vector<std::uint16_t>;

TEST(gate_record, keeps_the_top_expert_of_every_token) {
  gate_record g;
  annotate(g, 0, 3, logits_for({2, 0, 1}), experts);
  EXPECT_EQ(known(g, 0, 3), (experts_list{2, 0, 1}));
  EXPECT_EQ(known(g, 1, 1), (experts_list{0}));
}

TEST(gate_record, continues_what_was_annotated_before) {
  gate_record g;
  annotate(g, 0, 1, logits_for({2}), experts);
  annotate(g, 1, 2, logits_for({1, 0}), experts);
  EXPECT_EQ(known(g, 0, 3), (experts_list{2, 1, 0}));
}

TEST(gate_record, a_later_annotate_of_the_same_token_replaces_it) {
  gate_record g;
  annotate(g, 0, 2, logits_for({2, 2}), experts);
  annotate(g, 1, 1, logits_for({0}), experts);
  EXPECT_EQ(known(g, 0, 2), (experts_list{2, 0}));
}

TEST(gate_record, a_gap_makes_what_came_before_unknown) {
  gate_record g;
  annotate(g, 0, 2, logits_for({2, 2}), experts);
  annotate(g, 5, 1, logits_for({1}), experts);
  EXPECT_TRUE(known(g, 0, 2).empty());
  EXPECT_TRUE(known(g, 4, 2).empty());
  EXPECT_EQ(known(g, 5, 1), (experts_list{1}));
}

TEST(gate_record, tokens_beyond_the_last_annotate_are_unknown) {
  gate_record g;
  annotate(g, 0, 2, logits_for({0, 1}), experts);
  EXPECT_TRUE(known(g, 1, 2).empty());
  EXPECT_TRUE(known(g, 2, 1).empty());
}

TEST(gate_record, never_forgets_the_position_and_what_follows) {
  gate_record g;
  annotate(g, 0, 4, logits_for({0, 1, 2, 1}), experts);
  forget_before(g, 2);
  EXPECT_EQ(known(g, 2, 2), (experts_list{2, 1}));
  annotate(g, 4, 1, logits_for({0}), experts);
  EXPECT_EQ(known(g, 2, 3), (experts_list{2, 1, 0}));
}

TEST(gate_record, stays_small_when_old_tokens_are_forgotten) {
  gate_record g;
  for (std::uint32_t t = 0; t < 10'000; ++t) {
    annotate(g, t, 1, logits_for({static_cast<int>(t % 3)}), experts);
    forget_before(g, t);
  }
  EXPECT_LT(g.top.size(), 2048U);
  EXPECT_EQ(known(g, 9'998, 2), (experts_list{9'998 % 3, 9'999 % 3}));
}

TEST(gate_record, has_the_logits_of_the_last_annotate_by_position) {
  gate_record g;
  annotate(g, 0, 1, logits_for({0}), experts);
  const auto last = logits_for({2, 1});
  annotate(g, 1, 2, last, experts);
  auto row = gate_logits(g, 2, experts);
  EXPECT_TRUE(std::equal(row.begin(), row.end(), last.begin() + experts, last.end()));
  EXPECT_TRUE(gate_logits(g, 0, experts).empty());
  EXPECT_TRUE(gate_logits(g, 3, experts).empty());
}

TEST(lane_sequences, opens_with_empty_layers_on_every_device) {
  lane_sequences x{2, 3};
  auto& s = x.open({5});
  ASSERT_EQ(s.layers.size(), 2U);
  EXPECT_EQ(s.layers[1].on_device, (std::vector<std::uint32_t>{0, 0, 0}));
  EXPECT_TRUE(x.contains({5}));
}

TEST(lane_sequences, what_was_closed_is_not_found) {
  lane_sequences x{1, 1};
  x.open({5});
  EXPECT_TRUE(x.close({5}));
  EXPECT_FALSE(x.close({5}));
  EXPECT_EQ(x.find({5}), nullptr);
}

TEST(lane_sequences, a_fork_copies_lengths_and_no_fences) {
  lane_sequences x{1, 1};
  auto& parent = x.open({1});
  parent.layers[0].appended = 40;
  parent.layers[0].settled = 2;
  parent.layers[0].fences = 3;
  ASSERT_TRUE(x.fork({1}, {9}));
  auto& child = *x.find({9});
  EXPECT_EQ(child.layers[0].appended, 40U);
  EXPECT_EQ(child.layers[0].settled, 2U);
  EXPECT_EQ(child.layers[0].fences, 0U);
  child.layers[0].appended = 41;
  EXPECT_EQ(x.find({1})->layers[0].appended, 40U);
}

TEST(lane_sequences, a_fork_of_nothing_is_refused) {
  lane_sequences x{1, 1};
  EXPECT_FALSE(x.fork({1}, {2}));
  EXPECT_EQ(x.find({2}), nullptr);
}

TEST(lane_sequences, a_lost_device_breaks_the_sequences_whose_window_it_held) {
  lane_sequences x{1, 2};
  x.open({0});
  x.open({1});
  auto home_of = [](sequence_id s) { return device_id{static_cast<std::uint32_t>(s.value % 2)}; };
  x.lose_device({1}, home_of);
  EXPECT_FALSE(x.find({0})->broken);
  EXPECT_TRUE(x.find({1})->broken);
}

TEST(lane_sequences, the_pages_of_a_lost_device_are_remembered) {
  lane_sequences x{1, 2};
  auto& layer = x.open({0}).layers[0];
  for (std::uint32_t page = 0; page < 5; ++page)
    layer.arrived(page, {page % 2});
  auto home_of = [](sequence_id) { return device_id{0}; };
  x.lose_device({1}, home_of);
  EXPECT_EQ(layer.lost, (std::vector<std::uint32_t>{1, 3}));
  EXPECT_EQ(layer.on_device, (std::vector<std::uint32_t>{3, 0}));
  x.lose_device({1}, home_of);
  EXPECT_EQ(layer.lost.size(), 2U) << "a page is lost once";
}

} // namespace
