// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>

#include <moe_engine/evaluate.hpp>

namespace pikv::moe_engine {
namespace {

/// At most n bytes, whole lines only: a cut word would be a word of its own.
std::vector<std::uint8_t> text_of(std::size_t n) {
  const std::string line = "the quick brown fox; jumped over Lazy dogs and elephants\n";
  std::vector<std::uint8_t> out;
  while (out.size() + line.size() <= n)
    out.insert(out.end(), line.begin(), line.end());
  return out;
}

std::vector<std::vector<std::uint8_t>> prompts_of(std::uint32_t count, std::uint64_t seed = 1) {
  return *needle_prompts(text_of(9000), count, 1024, seed);
}

std::string str(const std::vector<std::uint8_t>& x) { return {x.begin(), x.end()}; }

TEST(needle, prompts_have_the_window_s_length) {
  for (const auto& x : prompts_of(20))
    EXPECT_EQ(x.size(), 1024U);
}

TEST(needle, answer_is_the_code_of_the_fact) {
  for (const auto& x : prompts_of(20)) {
    const auto prompt = str(x);
    const auto question = prompt.rfind("\nWhat is the code for ");
    ASSERT_NE(question, std::string::npos);
    const auto word_at = question + std::string{"\nWhat is the code for "}.size();
    const auto word = prompt.substr(word_at, prompt.find('?', word_at) - word_at);
    const auto code = prompt.substr(prompt.size() - 5);
    EXPECT_NE(prompt.find("\nThe code for " + word + " is " + code + ".\n"), std::string::npos);
    EXPECT_EQ(prompt.substr(prompt.size() - 12), " It is " + code);
  }
}

TEST(needle, words_are_lower_case_of_4_to_9_letters) {
  for (const auto& x : prompts_of(60, 3)) {
    const auto prompt = str(x);
    const auto at = prompt.find("\nThe code for ") + 14;
    const auto word = prompt.substr(at, prompt.find(' ', at) - at);
    EXPECT_TRUE(word == "quick" || word == "brown" || word == "jumped" || word == "over"
                || word == "lazy" || word == "dogs" || word == "elephants")
        << word;
  }
}

TEST(needle, facts_stand_at_the_four_depths_in_turn) {
  const auto prompts = prompts_of(4);
  const double depths[] = {0.05, 0.25, 0.5, 0.75};
  for (std::size_t i = 0; i < 4; ++i) {
    const auto at = static_cast<double>(str(prompts[i]).find("\nThe code for "));
    EXPECT_NEAR(at / 1024, depths[i], 0.08);
  }
}

TEST(needle, same_seed_gives_the_same_prompts) {
  EXPECT_EQ(prompts_of(8, 7), prompts_of(8, 7));
  EXPECT_NE(prompts_of(8, 7), prompts_of(8, 8));
}

TEST(needle, text_that_is_too_short_is_refused) {
  EXPECT_EQ(needle_prompts(text_of(1024), 1, 1024, 1).code(), errc::invalid_argument);
  EXPECT_EQ(needle_prompts(std::vector<std::uint8_t>(5000, '.'), 1, 1024, 1).code(),
            errc::invalid_argument);
}

} // namespace
} // namespace pikv::moe_engine
