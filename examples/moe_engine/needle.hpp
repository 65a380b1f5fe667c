// SPDX-License-Identifier: Apache-2.0
/// \file
/// The facts that the small model was trained to recall, and the questions for them: what needle
/// prompts and every other recall task are made of.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pikv::moe_engine {

inline constexpr std::size_t code_digits = 5; ///< of every code: 10000 to 99998

/// The text's distinct words of 4 to 9 letters, in lower case, in alphabetical order. A word ends
/// at white space; bytes beyond ASCII are passed over.
std::vector<std::string> needle_words(std::span<const std::uint8_t> text);

/// "\nThe code for WORD is CODE.\n"
std::string fact_text(std::string_view word, std::string_view code);

/// "\nWhat is the code for WORD? It is "; the code follows.
std::string question_text(std::string_view word);

} // namespace pikv::moe_engine
