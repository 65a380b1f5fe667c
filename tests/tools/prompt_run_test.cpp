// SPDX-License-Identifier: Apache-2.0
#include "eval/prompt_run.hpp"

#include <algorithm>

#include <gtest/gtest.h>

#include <moe_engine/dense_store.hpp>

#include "store_wrappers.hpp"
#include "tiny_weights.hpp"

namespace pikv::tools {
namespace {

using namespace moe_engine;

/// A model of random weights: what it answers means nothing, but is always the same.
struct fixture {
  model_config config = small_config();
  model m = [&] {
    const auto file = tensor_file::parse(small_weights(config), "weights");
    return *build_model(config, *file);
  }();
  thread_team team{1};
  dense_store kv{config.shape(), dtype::f32, team};
  engine e{m, kv, team};

  /// `n` greedy bytes after `text`, each by a pass over everything before it.
  std::string greedy(std::string text, std::size_t n) {
    std::string out;
    for (std::size_t i = 0; i < n; ++i) {
      const auto id = *kv.open();
      const batch_part parts[] = {{id, 0, static_cast<std::uint32_t>(text.size())}};
      std::vector<float> logits(text.size() * 256);
      const std::vector<std::uint8_t> bytes{text.begin(), text.end()};
      EXPECT_TRUE(e.forward(parts, bytes, logits).ok());
      EXPECT_TRUE(kv.close(id).ok());
      const auto last = logits.end() - 256;
      out += static_cast<char>(std::max_element(last, logits.end()) - last);
      text += out.back();
    }
    return out;
  }

  std::vector<recall_score> scores(const std::vector<prompt>& prompts,
                                   prompt_run_options options = {},
                                   const pass_callback& callback = {}) {
    auto x = ask(e, kv, 256, prompts, options, callback);
    EXPECT_TRUE(x.ok()) << (x.ok() ? "" : x.error().what);
    return x.ok() ? *x : std::vector<recall_score>{};
  }
};

TEST(ask, finds_the_answer_that_plain_greedy_decoding_gives) {
  fixture f;
  std::vector<prompt> prompts;
  for (const std::string context : {"a first one", "another, longer context", "third"})
    prompts.push_back({context, {{" ask? ", {f.greedy(context + " ask? ", 5)}, {}}}});
  prompts.push_back({"a fourth", {{" ask? ", {"wrong"}, {}}}});
  for (const bool aware : {false, true})
    for (const std::uint32_t sequences : {1U, 2U, 4U}) {
      const auto x = f.scores(prompts, {sequences, 5, aware});
      for (std::size_t i = 0; i < x.size(); ++i) {
        EXPECT_EQ(x[i].asked, 1U);
        EXPECT_EQ(x[i].right, i < 3 ? 1U : 0U) << i;
      }
    }
}

TEST(ask, goes_on_with_its_own_answer) {
  fixture f;
  const std::string context = "context", first = f.greedy(context + "one? ", 5);
  const auto second = f.greedy(context + "one? " + first + ".two? ", 5);
  const auto x = f.scores({{context, {{"one? ", {"never"}, {}}, {".two? ", {second}, {}}}}});
  EXPECT_EQ(x.at(0).asked, 2U);
  EXPECT_EQ(x[0].right, 1U);
}

TEST(ask, credits_an_answer_once) {
  fixture f;
  const auto first = f.greedy("cq", 5), second = f.greedy("cq" + first + "q", 5);
  const auto x = f.scores({{"c", {{"q", {first, second}, {}}, {"q", {first, second}, {}}}}});
  EXPECT_EQ(x.at(0).right, first == second ? 1U : 2U);
  const auto twice = f.scores({{"c", {{"q", {first}, {}}, {"q", {first, second}, {}}}}});
  EXPECT_EQ(twice.at(0).right, first == second ? 1U : 2U);
}

TEST(ask, choice_is_the_likeliest_of_the_offered_first_bytes) {
  fixture f;
  const auto id = *f.kv.open();
  const std::string text = "cq";
  const batch_part parts[] = {{id, 0, 2}};
  std::vector<float> logits(512);
  const std::vector<std::uint8_t> bytes{text.begin(), text.end()};
  ASSERT_TRUE(f.e.forward(parts, bytes, logits).ok());
  const std::vector<std::string> choices{"1aaaa", "5bbbb", "9cccc"};
  const auto best = std::ranges::max_element(
      choices, {}, [&](const auto& x) { return logits[256 + static_cast<std::size_t>(x[0])]; });
  for (const auto& accepted : choices) {
    const auto x = f.scores({{"c", {{"q", {accepted}, choices}}}});
    EXPECT_EQ(x.at(0).choices, 1U);
    EXPECT_EQ(x[0].chosen, accepted == *best ? 1U : 0U);
    EXPECT_DOUBLE_EQ(x[0].chance, 1.0 / 3);
  }
}

TEST(ask, asks_only_when_the_context_has_settled) {
  fixture f;
  counting_store kv{f.kv};
  engine e{f.m, kv, f.team};
  // 12 bytes of context in chunks of 5: 3 passes; the question: 1; four more digits: 4.
  const std::vector<prompt> prompts{{"twelve bytes", {{"question? ", {"x"}, {}}}}};
  ASSERT_TRUE(ask(e, kv, 256, prompts, {1, 5, false}, {}).ok());
  EXPECT_EQ(kv.attends, (3 + 1 + 4) * f.config.layers);
  kv.attends = 0;
  ASSERT_TRUE(ask(e, kv, 256, prompts, {1, 5, true}, {}).ok());
  EXPECT_EQ(kv.attends, (5 + 4) * f.config.layers); // 22 bytes in chunks of 5, the digits
  EXPECT_EQ(kv.opened, kv.closed);
}

TEST(ask, hands_up_errors_and_closes_what_it_opened) {
  fixture f;
  counting_store kv{f.kv, 3};
  engine e{f.m, kv, f.team};
  const std::vector<prompt> prompts{{"some context", {{"question? ", {"x"}, {}}}}};
  EXPECT_EQ(ask(e, kv, 256, prompts, {}, {}).code(), errc::deadline_exceeded);
  EXPECT_EQ(kv.opened, kv.closed);
}

TEST(ask, ends_when_the_callback_says_so) {
  fixture f;
  int passes = 0;
  const std::vector<prompt> prompts{{"some context", {{"question? ", {"x"}, {}}}}};
  const auto x = ask(f.e, f.kv, 256, prompts, {1, 4, false},
                     [&](const entry_account&, std::uint64_t, double) { return ++passes < 2; });
  EXPECT_EQ(x.code(), errc::cancelled);
  EXPECT_EQ(passes, 2);
}

TEST(ask, too_long_prompts_are_refused) {
  fixture f;
  const std::vector<prompt> prompts{{std::string(200, 'x'), {{"q", {"x"}, {}}}}};
  EXPECT_EQ(ask(f.e, f.kv, 256, prompts, {}, {}).code(), errc::out_of_range);
}

TEST(usable, needs_answers_or_better_choices_than_blind_ones) {
  EXPECT_FALSE(usable({}));
  EXPECT_TRUE(usable({20, 2, 0, 0, 0}));
  EXPECT_FALSE(usable({20, 1, 20, 6, 5}));   // a quarter is chance; 6 of 20 is luck
  EXPECT_TRUE(usable({20, 0, 20, 11, 5}));   // 11 of 20 is not
  EXPECT_FALSE(usable({20, 0, 20, 20, 20})); // all choices are right: nothing is shown
}

} // namespace
} // namespace pikv::tools
