// SPDX-License-Identifier: Apache-2.0
/// \file
/// Prompts with questions at their end: needles at chosen depths, and the tasks of RULER (Hsieh et
/// al., arXiv 2404.06654) that a program can generate, said in the facts that the small model was
/// trained on ("The code for WORD is DDDDD."). Hay is a piece of the text. All is determined by the
/// seed.
///
///   multi_key      8 words with a code each, one is asked
///   multi_value    1 word with 4 codes, asked 4 times; each code counts once
///   multi_query    4 words with a code each, all are asked in turn
///   variable       a word's code, then two words in turn "is the code for" the one before; the
///   last
///                  is asked, beside two other chains
///   common_words   1 word; one of 4 codes is said 8 times, the others once; the common one is
///   right frequent_words 1 word; 6 codes are said 12, 3, 2, 1, 1 and 1 times (a zeta law with
///   exponent
///                  2); asked 3 times; the three frequent ones are right, each once
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <pikv/messages/error.hpp>

namespace pikv::tools {

struct prompt_question {
  std::string ask;                   ///< the answer follows at once
  std::vector<std::string> accepted; ///< right answers, each `moe_engine::code_digits` long
  /// Codes in the context; their first digits differ, so that the first byte of an answer already
  /// chooses among them. Empty: nothing to choose from.
  std::vector<std::string> choices;
};

struct prompt {
  std::string context;
  std::vector<prompt_question> questions; ///< asked in turn; 1 or more
  /// Of context, questions and answers: the length that was asked for.
  std::size_t bytes() const noexcept;
};

/// What one task's generator needs.
struct prompt_source {
  std::span<const std::uint8_t> text; ///< longer than `bytes`
  std::uint32_t bytes = 4096;         ///< of each prompt, answers included
  std::uint64_t seed = 11;
};

struct recall_task {
  std::string_view name;
  std::string_view help;   ///< one line
  std::size_t facts_bytes; ///< an upper bound of what it hides and asks: prompts must be larger
};

/// The tasks above, in that order.
std::span<const recall_task> recall_tasks();

/// `count` prompts of a task. Errors: invalid_argument for an unknown task (with the nearest name),
/// a text that is too short or has too few words, or prompts that the facts would fill.
result<std::vector<prompt>> task_prompts(std::string_view task, const prompt_source& from,
                                         std::uint32_t count);

/// `count` prompts with one fact at each `depth` in [0, 1] of the hay, one after another. Errors as
/// above.
result<std::vector<prompt>> needle_prompts_at(double depth, const prompt_source& from,
                                              std::uint32_t count);

} // namespace pikv::tools
