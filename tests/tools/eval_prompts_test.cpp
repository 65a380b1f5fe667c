// SPDX-License-Identifier: Apache-2.0
#include "eval/prompts.hpp"

#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <moe_engine/needle.hpp>

namespace pikv::tools {
namespace {

using testing::HasSubstr;

/// Numbered lines, so that a place in it is known; 12 words that can be asked for.
const std::vector<std::uint8_t>& hay() {
  static const auto text = [] {
    std::string x;
    for (int i = 0; x.size() < 40000; ++i)
      x += std::to_string(100000 + i)
           + " lamb lion bear wolf goat hare crane stork eagle heron otter "
             "whale\n";
    return std::vector<std::uint8_t>{x.begin(), x.end()};
  }();
  return text;
}

std::vector<prompt> prompts_of(std::string_view task, std::uint32_t count = 12,
                               std::uint64_t seed = 1, std::uint32_t bytes = 2048) {
  auto x = task_prompts(task, {hay(), bytes, seed}, count);
  EXPECT_TRUE(x.ok()) << (x.ok() ? "" : x.error().what);
  return x.ok() ? std::move(*x) : std::vector<prompt>{};
}

std::string whole(const prompt& x) {
  auto out = x.context;
  for (const auto& q : x.questions)
    out += q.ask + q.accepted[0];
  return out;
}

/// The facts in the order of the context: word, what it is said to be, where.
struct fact {
  std::string word, value;
  std::size_t at;
};

std::vector<fact> facts_in(const std::string& context) {
  const std::string begin = "\nThe code for ", middle = " is ", end = ".\n";
  std::vector<fact> out;
  for (auto at = context.find(begin); at != std::string::npos; at = context.find(begin, at + 1)) {
    const auto word = at + begin.size();
    const auto is = context.find(middle, word), stop = context.find(end, is);
    out.push_back({context.substr(word, is - word),
                   context.substr(is + middle.size(), stop - is - middle.size()), at});
  }
  return out;
}

std::string asked_word(const prompt_question& q) {
  const std::string begin = "What is the code for ";
  const auto at = q.ask.find(begin) + begin.size();
  return q.ask.substr(at, q.ask.find('?') - at);
}

class every_task : public testing::TestWithParam<std::string> {};

TEST_P(every_task, gives_the_same_prompts_for_the_same_seed_only) {
  const auto a = prompts_of(GetParam()), b = prompts_of(GetParam()),
             c = prompts_of(GetParam(), 12, 2);
  for (std::size_t i = 0; i < a.size(); ++i)
    EXPECT_EQ(whole(a[i]), whole(b[i]));
  EXPECT_NE(whole(a[0]), whole(c[0]));
  EXPECT_NE(whole(a[0]), whole(a[1]));
}

TEST_P(every_task, fills_the_length_exactly) {
  for (const std::uint32_t bytes : {1700U, 2048U, 4096U})
    for (const auto& x : prompts_of(GetParam(), 4, 1, bytes)) {
      EXPECT_EQ(x.bytes(), bytes);
      EXPECT_EQ(whole(x).size(), bytes);
    }
}

TEST_P(every_task, accepts_only_codes_that_it_offers) {
  for (const auto& x : prompts_of(GetParam()))
    for (const auto& q : x.questions) {
      EXPECT_FALSE(q.accepted.empty());
      for (const auto& code : q.accepted) {
        EXPECT_EQ(code.size(), moe_engine::code_digits);
        EXPECT_THAT(q.choices, testing::Contains(code));
        EXPECT_THAT(x.context, HasSubstr(" is " + code + ".\n"));
      }
    }
}

TEST_P(every_task, choices_differ_in_their_first_digit) {
  for (const auto& x : prompts_of(GetParam())) {
    std::set<char> firsts;
    for (const auto& code : x.questions[0].choices)
      EXPECT_TRUE(firsts.insert(code[0]).second);
  }
}

TEST_P(every_task, asks_in_the_trained_form) {
  for (const auto& x : prompts_of(GetParam()))
    for (std::size_t i = 0; i < x.questions.size(); ++i) {
      const auto& q = x.questions[i];
      EXPECT_EQ(q.ask,
                std::string(i == 0 ? 0 : 1, '.').append(moe_engine::question_text(asked_word(q))));
    }
}

TEST_P(every_task, leaves_the_hay_as_it_is) {
  const std::string text{hay().begin(), hay().end()};
  for (const auto& x : prompts_of(GetParam())) {
    auto rest = x.context;
    for (const auto& f : facts_in(x.context)) {
      const auto one = moe_engine::fact_text(f.word, f.value);
      rest.erase(rest.find(one), one.size());
    }
    EXPECT_NE(text.find(rest), std::string::npos);
  }
}

std::vector<std::string> task_list() {
  std::vector<std::string> out;
  for (const auto& x : recall_tasks())
    out.emplace_back(x.name);
  return out;
}

INSTANTIATE_TEST_SUITE_P(all, every_task, testing::ValuesIn(task_list()),
                         [](const auto& x) { return x.param; });

TEST(multi_key, asks_for_one_of_eight_words) {
  std::set<std::size_t> places;
  for (const auto& x : prompts_of("multi_key", 40)) {
    const auto facts = facts_in(x.context);
    ASSERT_EQ(facts.size(), 8U);
    const auto word = asked_word(x.questions.at(0));
    int said = 0;
    for (std::size_t i = 0; i < facts.size(); ++i)
      if (facts[i].word == word) {
        ++said;
        places.insert(i);
        EXPECT_EQ(facts[i].value, x.questions[0].accepted.at(0));
      }
    EXPECT_EQ(said, 1);
  }
  EXPECT_EQ(places.size(), 8U); // any of them, over many prompts
}

TEST(multi_value, asks_for_all_codes_of_one_word) {
  for (const auto& x : prompts_of("multi_value")) {
    std::set<std::string> words, codes;
    for (const auto& f : facts_in(x.context)) {
      words.insert(f.word);
      codes.insert(f.value);
    }
    EXPECT_EQ(words.size(), 1U);
    EXPECT_EQ(x.questions.size(), 4U);
    for (const auto& q : x.questions)
      EXPECT_EQ((std::set<std::string>{q.accepted.begin(), q.accepted.end()}), codes);
  }
}

TEST(multi_query, asks_for_every_word_once) {
  for (const auto& x : prompts_of("multi_query")) {
    std::map<std::string, std::string> said;
    for (const auto& f : facts_in(x.context))
      said[f.word] = f.value;
    EXPECT_EQ(said.size(), 4U);
    EXPECT_EQ(x.questions.size(), 4U);
    for (const auto& q : x.questions) {
      EXPECT_EQ(said.at(asked_word(q)), q.accepted.at(0));
      said.erase(asked_word(q));
    }
  }
}

TEST(variable, follows_the_chain_to_its_code) {
  for (const auto& x : prompts_of("variable")) {
    const auto facts = facts_in(x.context);
    ASSERT_EQ(facts.size(), 9U);
    auto word = asked_word(x.questions.at(0));
    std::size_t at = x.context.size();
    int hops = 0;
    for (const std::string reference = "the code for ";; ++hops) {
      const auto f = std::ranges::find(facts, word, &fact::word);
      ASSERT_NE(f, facts.end());
      EXPECT_LT(f->at, at); // a word is said after what it refers to
      at = f->at;
      if (!f->value.starts_with(reference)) {
        EXPECT_EQ(f->value, x.questions[0].accepted.at(0));
        break;
      }
      word = f->value.substr(reference.size());
    }
    EXPECT_EQ(hops, 2);
  }
}

std::map<std::string, int> counts_in(const prompt& x) {
  std::map<std::string, int> out;
  for (const auto& f : facts_in(x.context))
    ++out[f.value];
  return out;
}

TEST(common_words, right_code_is_said_eight_times) {
  for (const auto& x : prompts_of("common_words")) {
    auto counts = counts_in(x);
    EXPECT_EQ(counts.at(x.questions.at(0).accepted.at(0)), 8);
    counts.erase(x.questions[0].accepted[0]);
    for (const auto& [code, n] : counts)
      EXPECT_EQ(n, 1);
    EXPECT_EQ(counts.size(), 3U);
  }
}

TEST(frequent_words, right_codes_are_the_frequent_ones) {
  for (const auto& x : prompts_of("frequent_words")) {
    const auto counts = counts_in(x);
    const auto& right = x.questions.at(0).accepted;
    ASSERT_EQ(right.size(), 3U);
    for (const auto& [code, n] : counts)
      EXPECT_EQ(n > 1, std::ranges::find(right, code) != right.end()) << code << ' ' << n;
    EXPECT_EQ(x.questions.size(), 3U);
  }
}

TEST(needle_prompts_at, puts_the_fact_at_the_depth) {
  for (const double depth : {0.0, 0.25, 0.5, 1.0}) {
    const auto prompts = needle_prompts_at(depth, {hay(), 1024, 5}, 6);
    ASSERT_TRUE(prompts.ok());
    for (const auto& x : *prompts) {
      const auto facts = facts_in(x.context);
      ASSERT_EQ(facts.size(), 1U);
      const auto hay_bytes =
          x.context.size() - moe_engine::fact_text(facts[0].word, facts[0].value).size();
      EXPECT_NEAR(static_cast<double>(facts[0].at), depth * static_cast<double>(hay_bytes), 1);
      EXPECT_EQ(x.bytes(), 1024U);
      EXPECT_EQ(x.questions.at(0).accepted.at(0), facts[0].value);
    }
  }
}

TEST(task_prompts, refuse_what_cannot_be) {
  EXPECT_THAT(task_prompts("multi_keys", {hay(), 2048, 1}, 1).error().what,
              HasSubstr("did you mean \"multi_key\""));
  EXPECT_EQ(task_prompts("frequent_words", {hay(), 512, 1}, 1).code(), errc::invalid_argument);
  EXPECT_EQ(task_prompts("multi_key", {hay(), 50000, 1}, 1).code(), errc::invalid_argument);
  const std::vector<std::uint8_t> no_words(5000, '.');
  EXPECT_THAT(task_prompts("multi_key", {no_words, 2048, 1}, 1).error().what, HasSubstr("words"));
  EXPECT_EQ(needle_prompts_at(1.5, {hay(), 1024, 1}, 1).code(), errc::invalid_argument);
}

} // namespace
} // namespace pikv::tools
