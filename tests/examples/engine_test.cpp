// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

#include <examples/store_wrappers.hpp>
#include <examples/tiny_weights.hpp>
#include <moe_engine/dense_store.hpp>
#include <moe_engine/engine.hpp>
#include <moe_engine/evaluate.hpp>

namespace pikv::moe_engine {
namespace {

const std::string folder = PIKV_TINY_MOE;

double worst_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = a.size() == b.size() ? 0 : INFINITY;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const auto x = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    worst = x <= worst ? worst : x;
  }
  return worst;
}

TEST(engine, log_probabilities_equal_the_reference) {
  const auto m = load_model(folder);
  ASSERT_TRUE(m.ok()) << m.error().what;
  const auto text = read_bytes(folder + "/eval_text.txt");
  const auto reference = read_reference(folder + "/reference.json");
  ASSERT_TRUE(text.ok() && reference.ok());
  ASSERT_EQ(reference->size(), 2047U);
  thread_team team{2};
  dense_store kv{m->config.shape(), dtype::f32, team};
  const auto got = log_probabilities(*m, kv, team, std::span{*text}.first(2048));
  ASSERT_TRUE(got.ok()) << got.error().what;
  EXPECT_LT(worst_difference(*got, *reference), 2e-3);
}

class small_engine : public testing::Test {
protected:
  model m = *build_model(small_config(), *tensor_file::parse(small_weights(small_config()), "x"));
  thread_team team{2};
  dense_store kv{m.config.shape(), dtype::f32, team};
  std::vector<std::uint8_t> text = make_text();

  static std::vector<std::uint8_t> make_text() {
    std::vector<std::uint8_t> out(100);
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i] = static_cast<std::uint8_t>(i * 37 % 251);
    return out;
  }
  result<entry_account> forward(engine& e, std::span<const batch_part> parts,
                                std::span<const std::uint8_t> tokens) {
    logits.assign(tokens.size() * 256, 0.0F);
    return e.forward(parts, tokens, logits);
  }
  std::vector<float> logits;
};

TEST_F(small_engine, decoding_token_by_token_equals_prefill) {
  const auto whole = *log_probabilities(m, kv, team, text, 100);
  const auto single = *log_probabilities(m, kv, team, text, 1);
  EXPECT_LT(worst_difference(whole, single), 1e-5);
}

TEST_F(small_engine, chunks_that_do_not_divide_the_text_change_nothing) {
  const auto whole = *log_probabilities(m, kv, team, text, 100);
  EXPECT_LT(worst_difference(whole, *log_probabilities(m, kv, team, text, 33)), 1e-5);
}

TEST_F(small_engine, a_batch_of_unequal_parts_equals_its_sequences_alone) {
  engine e{m, kv, team};
  const auto a = *kv.open();
  const auto b = *kv.open();
  const batch_part alone[] = {{*kv.open(), 0, 60}};
  ASSERT_TRUE(forward(e, alone, std::span{text}.first(60)).ok());
  const std::vector<float> expected(logits.end() - 256, logits.end());

  const batch_part first[] = {{a, 0, 10}, {b, 0, 59}};
  std::vector<std::uint8_t> tokens{text.begin() + 20, text.begin() + 30};
  tokens.insert(tokens.end(), text.begin(), text.begin() + 59);
  ASSERT_TRUE(forward(e, first, tokens).ok());
  const batch_part second[] = {{a, 10, 3}, {b, 59, 1}};
  const std::uint8_t next[] = {1, 2, 3, text[59]};
  ASSERT_TRUE(forward(e, second, next).ok());
  EXPECT_LT(worst_difference(expected, {logits.end() - 256, logits.end()}), 1e-5);
}

TEST_F(small_engine, each_layer_appends_attends_and_annotates_in_this_order) {
  counting_store counted{kv};
  engine e{m, counted, team};
  const batch_part parts[] = {{*counted.open(), 0, 5}};
  ASSERT_TRUE(forward(e, parts, std::span{text}.first(5)).ok());
  EXPECT_EQ(counted.calls, (std::vector<char>{'p', 't', 'n', 'p', 't', 'n'}));
  EXPECT_EQ(counted.finishes, 1U);
}

TEST_F(small_engine, entries_are_summed_over_layers) {
  engine e{m, kv, team};
  const batch_part parts[] = {{*kv.open(), 0, 4}};
  EXPECT_EQ(forward(e, parts, std::span{text}.first(4))->existing,
            2U /*layers*/ * 2 /*KV heads*/ * (1 + 2 + 3 + 4));
}

TEST_F(small_engine, error_of_the_store_is_handed_up_after_everything_ended) {
  counting_store failing{kv, 2};
  engine e{m, failing, team};
  const batch_part parts[] = {{*failing.open(), 0, 5}};
  EXPECT_EQ(forward(e, parts, std::span{text}.first(5)).code(), errc::deadline_exceeded);
  EXPECT_EQ(failing.finishes, 1U);
}

TEST_F(small_engine, position_beyond_the_model_is_refused) {
  engine e{m, kv, team};
  const batch_part parts[] = {{*kv.open(), 127, 2}};
  EXPECT_EQ(forward(e, parts, std::span{text}.first(2)).code(), errc::out_of_range);
}

TEST_F(small_engine, tokens_that_do_not_match_the_parts_are_refused) {
  engine e{m, kv, team};
  const batch_part parts[] = {{*kv.open(), 0, 3}};
  EXPECT_EQ(forward(e, parts, std::span{text}.first(2)).code(), errc::invalid_argument);
}

} // namespace
} // namespace pikv::moe_engine
