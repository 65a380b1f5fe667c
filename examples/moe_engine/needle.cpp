// SPDX-License-Identifier: Apache-2.0
#include <moe_engine/needle.hpp>

#include <array>
#include <cctype>
#include <random>
#include <set>

#include <fmt/format.h>

#include <moe_engine/evaluate.hpp>

namespace pikv::moe_engine {

std::vector<std::string> needle_words(std::span<const std::uint8_t> text) {
  std::set<std::string> words;
  std::string word;
  bool letters = true;
  const auto end_word = [&] {
    if (letters && word.size() >= 4 && word.size() <= 9)
      words.insert(word);
    word.clear();
    letters = true;
  };
  for (const auto byte : text) {
    if (byte > 127)
      continue;
    if (std::isspace(byte) != 0) {
      end_word();
      continue;
    }
    letters = letters && std::isalpha(byte) != 0;
    word.push_back(static_cast<char>(std::tolower(byte)));
  }
  end_word();
  return {words.begin(), words.end()};
}

std::string fact_text(std::string_view word, std::string_view code) {
  return fmt::format("\nThe code for {} is {}.\n", word, code);
}

std::string question_text(std::string_view word) {
  return fmt::format("\nWhat is the code for {}? It is ", word);
}

namespace {

void add(std::vector<std::uint8_t>& to, std::span<const std::uint8_t> x) {
  to.insert(to.end(), x.begin(), x.end());
}

void add(std::vector<std::uint8_t>& to, const std::string& x) {
  to.insert(to.end(), x.begin(), x.end());
}

} // namespace

result<std::vector<std::vector<std::uint8_t>>> needle_prompts(std::span<const std::uint8_t> text,
                                                              std::uint32_t count,
                                                              std::uint32_t window_bytes,
                                                              std::uint64_t seed) {
  constexpr std::array depths{0.05, 0.25, 0.5, 0.75};
  constexpr std::uint32_t shortest = 256; // leaves most of a prompt to the hay
  const auto words = needle_words(text);
  if (window_bytes < shortest || text.size() <= window_bytes || words.empty())
    return {errc::invalid_argument,
            fmt::format("needles in {} bytes need prompts of {} bytes or more, a longer text and a "
                        "word of 4 to 9 letters in it",
                        window_bytes, shortest)};
  // The generator's sequence is fixed by the standard; its distributions are not, hence the %.
  std::mt19937_64 random{seed};
  std::vector<std::vector<std::uint8_t>> prompts;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto& word = words[random() % words.size()];
    const auto code = std::to_string(10000 + random() % 89999);
    const auto start = random() % (text.size() - window_bytes);
    const auto fact = fact_text(word, code);
    const auto question = question_text(word) + code;
    const auto hay = text.subspan(start, window_bytes - fact.size() - question.size());
    const auto at =
        static_cast<std::size_t>(depths[i % depths.size()] * static_cast<double>(hay.size()));
    auto& prompt = prompts.emplace_back();
    add(prompt, hay.first(at));
    add(prompt, fact);
    add(prompt, hay.subspan(at));
    add(prompt, question);
  }
  return prompts;
}

} // namespace pikv::moe_engine
