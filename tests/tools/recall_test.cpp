// SPDX-License-Identifier: Apache-2.0
#include "eval/recall_sums.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "tiny_weights.hpp"

namespace pikv::tools {
namespace {

constexpr model_shape shape{1, 1, 1, 2, 2};
constexpr study_geometry geometry{1, 2, 2};

/// 8 old pages of 2 entries after one sink; keys of two channels.
struct fixture {
  study_head head{2, geometry};
  std::vector<float> weights, q{1, 0};
  static constexpr std::uint32_t old = 8, entries = 16;

  fixture() {
    const std::vector<float> v{0, 0};
    for (std::uint32_t i = 0; i < 1 + entries + 2; ++i)
      head.append(std::vector<float>{static_cast<float>(i % 7), 0}, v);
    weights.assign(head.padded_tokens(), 0.0F);
  }

  recalls found(std::size_t selector, std::span<const float> gates = {}) {
    recall_sums sums{shape, geometry};
    sums.add({sequence_id{1}, 1, 0, 18, old, &head, q.data(), weights.data(), weights.size(), 1},
             gates);
    return sums.shares().at(selector);
  }
};

constexpr std::size_t gate = 1, quest = 2, true_pages = 5, true_entries = 6;

TEST(recall_sums, true_mass_takes_the_heaviest_first) {
  fixture f;
  for (std::uint32_t i = 0; i < fixture::entries; ++i)
    f.weights[1 + i] = 0.01F * static_cast<float>(i + 1); // 0.01 to 0.16, 1.36 in all
  const auto entries = f.found(true_entries), pages = f.found(true_pages);
  EXPECT_NEAR(entries[0], (0.16 + 0.15) / 1.36, 1e-6); // 2 of 16
  EXPECT_NEAR(pages[0], (0.16 + 0.15) / 1.36, 1e-6);   // 1 of 8
  EXPECT_NEAR(entries[2], 1.0 / 1.36, 1e-6);           // 0.09 to 0.16
}

TEST(recall_sums, pages_find_no_more_than_entries) {
  fixture f;
  for (std::uint32_t i = 0; i < fixture::entries; ++i)
    f.weights[1 + i] = i % 2 == 0 ? 0.1F : 0.01F;
  for (std::size_t s = 0; s < recall_shares.size(); ++s)
    EXPECT_LT(f.found(true_pages)[s], f.found(true_entries)[s]);
}

TEST(recall_sums, sinks_and_window_do_not_count) {
  fixture f;
  f.weights[0] = 0.5F;                    // the sink
  f.weights[1 + fixture::entries] = 0.4F; // in the window
  f.weights[3] = 0.1F;
  EXPECT_NEAR(f.found(true_entries)[0], 1, 1e-6);
}

TEST(recall_sums, quest_finds_the_page_with_the_largest_key) {
  fixture f;
  f.weights[1 + 5] = 1; // entry 5 has position 6, its key is 6, the largest
  EXPECT_NEAR(f.found(quest)[0], 1, 1e-6);
}

TEST(recall_sums, gate_prefers_entries_whose_expert_the_query_likes) {
  fixture f;
  std::vector<float> gates(19 * 2);
  for (std::size_t t = 0; t < 19; ++t)
    gates[t * 2 + (t % 4 == 1 ? 1 : 0)] = 5; // a quarter of the entries goes to expert 1
  gates[18 * 2] = 0;
  gates[18 * 2 + 1] = 3; // as the query would
  for (std::uint32_t i = 0; i < fixture::entries; ++i)
    f.weights[1 + i] = (1 + i) % 4 == 1 ? 1.0F : 0.0F;
  EXPECT_NEAR(f.found(gate, gates)[1], 1, 1e-6); // exactly the right quarter
}

TEST(recall_sums, rows_without_a_gate_are_left_out_of_its_selector_only) {
  fixture f;
  f.weights[5] = 1;
  EXPECT_EQ(f.found(gate)[2], 0);
  EXPECT_GT(f.found(true_pages)[2], 0.99);
}

/// A model of random weights and a text with words to ask for.
std::vector<std::uint8_t> words() {
  std::string x;
  while (x.size() < 4000)
    x += "lamb lion bear wolf goat hare crane stork eagle heron otter whale ";
  return {x.begin(), x.end()};
}

TEST(measure_recall, orders_the_yardsticks_and_repeats_itself) {
  using namespace moe_engine;
  auto config = small_config();
  config.max_positions = 512;
  const auto m = *build_model(config, *tensor_file::parse(small_weights(config), "weights"));
  thread_team team{2};
  const auto text = words();
  const recall_options options{.windows = 2, .needles = 2, .context = 400};
  const auto x = measure_recall(m, text, {4, 64, 16}, options, team, {});
  ASSERT_TRUE(x.ok()) << x.error().what;
  ASSERT_EQ(x->size(), recall_selectors.size());
  for (std::size_t s = 0; s < recall_shares.size(); ++s)
    for (const auto& row : *x) {
      for (const auto& best : {&recall_row::text, &recall_row::answer}) {
        EXPECT_GT((row.*best)[s], 0) << row.selector;
        EXPECT_LE((row.*best)[s], ((*x)[true_entries].*best)[s] + 1e-9) << row.selector;
      }
      EXPECT_NEAR(x->front().text[s], recall_shares[s], 0.06); // random entries
    }
  const auto again = measure_recall(m, text, {4, 64, 16}, options, team, {});
  for (std::size_t i = 0; i < x->size(); ++i)
    for (std::size_t s = 0; s < recall_shares.size(); ++s)
      EXPECT_NEAR((*again)[i].text[s], (*x)[i].text[s], 1e-9);
}

TEST(measure_recall, ends_when_the_callback_says_so) {
  using namespace moe_engine;
  auto config = small_config();
  config.max_positions = 512;
  const auto m = *build_model(config, *tensor_file::parse(small_weights(config), "weights"));
  thread_team team{1};
  const auto x = measure_recall(m, words(), {}, {.windows = 2, .needles = 0, .context = 300}, team,
                                [](std::uint32_t, std::uint32_t) { return false; });
  EXPECT_EQ(x.code(), errc::cancelled);
}

TEST(measure_recall, refuses_a_text_that_is_too_short) {
  using namespace moe_engine;
  const auto config = small_config();
  const auto m = *build_model(config, *tensor_file::parse(small_weights(config), "weights"));
  thread_team team{1};
  const auto text = words();
  EXPECT_EQ(measure_recall(m, std::span{text}.first(100), {}, {}, team, {}).code(),
            errc::invalid_argument);
}

} // namespace
} // namespace pikv::tools
