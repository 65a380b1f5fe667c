// SPDX-License-Identifier: Apache-2.0
#include "eval/prompts.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include <moe_engine/needle.hpp>
#include <pikv/messages/nearest_name.hpp>

#include "eval/prompt_drawer.hpp"

namespace pikv::tools {

namespace {

using moe_engine::fact_text;
using moe_engine::question_text;

constexpr std::size_t most_words = 9; ///< that one prompt needs

/// The same question `times` times; an answer ends with a full stop before the next one.
std::vector<prompt_question> asked(const std::string& word, std::size_t times,
                                   const std::vector<std::string>& accepted,
                                   const std::vector<std::string>& choices) {
  std::vector<prompt_question> out;
  for (std::size_t i = 0; i < times; ++i)
    out.push_back({(i == 0 ? question_text(word) : fmt::format(".{}", question_text(word))),
                   accepted, choices});
  return out;
}

prompt multi_key(drawer& d) {
  const auto words = d.words(8);
  const auto codes = d.codes(8);
  std::vector<std::string> facts;
  for (std::size_t i = 0; i < words.size(); ++i)
    facts.push_back(fact_text(words[i], codes[i]));
  const auto one = d.below(words.size());
  return d.strewn(facts, asked(words[one], 1, {codes[one]}, codes));
}

prompt multi_value(drawer& d) {
  const auto word = d.words(1)[0];
  const auto codes = d.codes(4);
  std::vector<std::string> facts;
  for (const auto& code : codes)
    facts.push_back(fact_text(word, code));
  return d.strewn(facts, asked(word, codes.size(), codes, codes));
}

prompt multi_query(drawer& d) {
  const auto words = d.words(4);
  const auto codes = d.codes(4);
  std::vector<std::string> facts;
  std::vector<prompt_question> questions;
  for (std::size_t i = 0; i < words.size(); ++i) {
    facts.push_back(fact_text(words[i], codes[i]));
    auto question = asked(words[i], 1, {codes[i]}, codes)[0];
    if (i > 0)
      question.ask = fmt::format(".{}", question.ask);
    questions.push_back(std::move(question));
  }
  return d.strewn(facts, std::move(questions));
}

/// Three chains of three words; the facts of the chains alternate, those of a chain stay in order.
prompt variable(drawer& d) {
  constexpr std::size_t chains = 3;
  const auto words = d.words(3 * chains);
  const auto codes = d.codes(chains);
  std::vector<std::string> facts;
  for (std::size_t i = 0; i < chains; ++i)
    facts.push_back(fact_text(words[i], codes[i]));
  for (std::size_t i = chains; i < words.size(); ++i)
    facts.push_back(fact_text(words[i], fmt::format("the code for {}", words[i - chains])));
  const auto one = d.below(chains);
  return d.strewn(facts, asked(words[2 * chains + one], 1, {codes[one]}, codes));
}

/// Facts of one word that say codes[i] `times[i]` times, in random order; the first `frequent`
/// codes are right.
prompt counted(drawer& d, std::span<const std::size_t> times, std::size_t frequent) {
  const auto word = d.words(1)[0];
  const auto codes = d.codes(times.size());
  std::vector<std::string> facts;
  for (std::size_t i = 0; i < times.size(); ++i)
    for (std::size_t n = 0; n < times[i]; ++n)
      facts.push_back(fact_text(word, codes[i]));
  d.shuffle(facts);
  const std::vector<std::string> right{codes.begin(),
                                       codes.begin() + static_cast<std::ptrdiff_t>(frequent)};
  return d.strewn(facts, asked(word, frequent, right, codes));
}

prompt common_words(drawer& d) {
  constexpr std::array<std::size_t, 4> times{8, 1, 1, 1};
  return counted(d, times, 1);
}

prompt frequent_words(drawer& d) {
  constexpr std::array<std::size_t, 6> times{12, 3, 2, 1, 1, 1};
  return counted(d, times, 3);
}

// "\nThe code for WORD is CODE.\n" has at most 35 bytes, a question with its answer 46.
constexpr std::size_t fact_bytes = 35, question_bytes = 46;
constexpr std::array<recall_task, 6> tasks{{
    {"multi_key", "8 words with a code each, one is asked", 8 * fact_bytes + question_bytes},
    {"multi_value", "4 codes of one word, all are wanted", 4 * (fact_bytes + question_bytes)},
    {"multi_query", "4 words with a code each, all are asked", 4 * (fact_bytes + question_bytes)},
    {"variable", "a chain of two references to a code, beside two others",
     9 * (fact_bytes + 20) + question_bytes},
    {"common_words", "the code that is said most often", 11 * fact_bytes + question_bytes},
    {"frequent_words", "the three codes that are said most often",
     20 * fact_bytes + 3 * question_bytes},
}};
constexpr std::array<prompt (*)(drawer&), tasks.size()> generators{
    multi_key, multi_value, multi_query, variable, common_words, frequent_words};

result<drawer> drawer_of(std::string_view task, const prompt_source& from,
                         std::size_t facts_bytes) {
  // At least as much hay as facts, so that the facts do not lie side by side.
  if (from.bytes < 2 * facts_bytes)
    return {errc::invalid_argument,
            fmt::format("prompts of {} bytes are too short for the task {}; it needs {}",
                        from.bytes, task, 2 * facts_bytes)};
  if (from.text.size() <= from.bytes)
    return {errc::invalid_argument, fmt::format("prompts of {} bytes need a longer text; it has {}",
                                                from.bytes, from.text.size())};
  auto words = moe_engine::needle_words(from.text);
  if (words.size() < most_words)
    return {errc::invalid_argument,
            fmt::format("the text has {} words of 4 to 9 letters; prompts need {}", words.size(),
                        most_words)};
  return drawer{from, std::move(words)};
}

} // namespace

std::size_t prompt::bytes() const noexcept {
  auto sum = context.size();
  for (const auto& x : questions)
    sum += x.ask.size() + moe_engine::code_digits;
  return sum;
}

std::span<const recall_task> recall_tasks() { return tasks; }

result<std::vector<prompt>> task_prompts(std::string_view task, const prompt_source& from,
                                         std::uint32_t count) {
  const auto found = std::ranges::find(tasks, task, &recall_task::name);
  if (found == tasks.end()) {
    std::vector<std::string> known;
    for (const auto& x : tasks)
      known.emplace_back(x.name);
    return {errc::invalid_argument, fmt::format("there is no task \"{}\"; did you mean \"{}\"?",
                                                task, nearest_name(task, known))};
  }
  auto d = drawer_of(task, from, found->facts_bytes);
  if (!d)
    return d.error();
  std::vector<prompt> out;
  for (std::uint32_t i = 0; i < count; ++i)
    out.push_back(generators[static_cast<std::size_t>(found - tasks.begin())](*d));
  return out;
}

result<std::vector<prompt>> needle_prompts_at(double depth, const prompt_source& from,
                                              std::uint32_t count) {
  if (!(depth >= 0 && depth <= 1))
    return {errc::invalid_argument, fmt::format("a depth of {}; depths are within 0 and 1", depth)};
  auto d = drawer_of("needle", from, fact_bytes + question_bytes);
  if (!d)
    return d.error();
  std::vector<prompt> out;
  for (std::uint32_t i = 0; i < count; ++i)
    out.push_back(d->at_depth(depth));
  return out;
}

} // namespace pikv::tools
