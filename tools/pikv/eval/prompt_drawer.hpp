// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the generators of prompts.cpp draw their prompts with.
#pragma once

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <moe_engine/needle.hpp>

#include "eval/prompts.hpp"

namespace pikv::tools {

/// Draws words, codes and hay. The generator's sequence is fixed by the standard; its distributions
/// are not, hence the remainders.
class drawer {
public:
  drawer(const prompt_source& from, std::vector<std::string> words)
      : from_(from), words_(std::move(words)), random_(from.seed) {}

  std::size_t below(std::size_t n) { return random_() % n; }

  template <class T>
  void shuffle(std::vector<T>& x) {
    for (std::size_t i = x.size(); i > 1; --i)
      std::swap(x[i - 1], x[below(i)]);
  }

  /// Different words.
  std::vector<std::string> words(std::size_t n) {
    std::vector<std::string> out;
    while (out.size() < n)
      if (const auto& x = words_[below(words_.size())]; std::ranges::find(out, x) == out.end())
        out.push_back(x);
    return out;
  }

  /// Codes whose first digits differ; n is at most 9.
  std::vector<std::string> codes(std::size_t n) {
    std::vector<char> firsts{'1', '2', '3', '4', '5', '6', '7', '8', '9'};
    shuffle(firsts);
    std::vector<std::string> out;
    for (std::size_t i = 0; i < n; ++i)
      out.push_back(fmt::format("{}{:04}", firsts[i], below(9999)));
    return out;
  }

  /// The prompt with the facts strewn over a piece of the text in their order.
  prompt strewn(const std::vector<std::string>& facts, std::vector<prompt_question> questions) {
    prompt out{{}, std::move(questions)};
    auto hay_bytes = from_.bytes - out.bytes();
    for (const auto& x : facts)
      hay_bytes -= x.size();
    std::vector<std::size_t> places(facts.size());
    for (auto& x : places)
      x = below(hay_bytes + 1);
    std::ranges::sort(places);
    out.context = placed(facts, places, hay_bytes);
    return out;
  }

  prompt at_depth(double depth) {
    const auto word = words(1)[0];
    const auto code = codes(1)[0];
    prompt out{{}, {{moe_engine::question_text(word), {code}, {}}}};
    const std::vector<std::string> facts{moe_engine::fact_text(word, code)};
    const auto hay_bytes = from_.bytes - out.bytes() - facts[0].size();
    const auto place = static_cast<std::size_t>(depth * static_cast<double>(hay_bytes));
    out.context = placed(facts, {place}, hay_bytes);
    return out;
  }

private:
  std::string placed(const std::vector<std::string>& facts, const std::vector<std::size_t>& places,
                     std::size_t hay_bytes) {
    const auto start = below(from_.text.size() - hay_bytes);
    const auto hay = from_.text.subspan(start, hay_bytes);
    std::string out;
    std::size_t done = 0;
    for (std::size_t i = 0; i < facts.size(); ++i) {
      out.append(hay.begin() + static_cast<std::ptrdiff_t>(done),
                 hay.begin() + static_cast<std::ptrdiff_t>(places[i]));
      out += facts[i];
      done = places[i];
    }
    out.append(hay.begin() + static_cast<std::ptrdiff_t>(done), hay.end());
    return out;
  }

  const prompt_source& from_;
  std::vector<std::string> words_;
  std::mt19937_64 random_;
};

} // namespace pikv::tools
