// SPDX-License-Identifier: Apache-2.0
// Damaged configurations never crash: they give settings that are valid, or an error with a
// position.
#include <regex>

#include "random_settings.hpp"

namespace pikv::config::testing {
namespace {

std::string mutate(std::string text, generator& random) {
  static const std::string pieces[] = {
      ":",  " ",    "\n",   "\t",           "{",   "}",  "[",    "]",   ",",  "\"",
      "'",  "#",    "-",    "- ",           "? ",  "&a", "*a",   "!x ", "|",  ">",
      "%",  "@",    "---",  "...",          "~",   "\\", "null", "<<",  "1e", ".",
      "\r", "\x80", "\xff", "\xef\xbb\xbf", "\x04"};
  const auto edits = 1 + random() % 4;
  for (std::size_t i = 0; i < edits; ++i) {
    const auto at = random() % (text.size() + 1);
    const auto length = random() % 8;
    switch (random() % 5) {
    case 0: text.insert(at, pieces[random() % std::size(pieces)]); break;
    case 1: text.erase(at, length); break;
    case 2: text.insert(at, text.substr(random() % text.size(), length * 8)); break;
    case 3: text.resize(at); break;
    default:
      if (at < text.size())
        text[at] = static_cast<char>(random());
    }
    if (text.empty())
      text = "x";
  }
  return text;
}

void expect_orderly(const std::string& text) {
  static const std::regex positioned(R"(^t\.yaml:[1-9][0-9]*:[1-9][0-9]*: )");
  const auto x = read(text);
  if (x) {
    ASSERT_TRUE(validate(*x, all_policies()).ok()) << text;
    return;
  }
  const auto code = x.code();
  ASSERT_TRUE(code == errc::config_syntax || code == errc::config_key || code == errc::config_value)
      << x.error().what;
  const auto& what = x.error().what;
  ASSERT_TRUE(std::regex_search(what.substr(0, 40), positioned)) << what << "\n" << text;
}

TEST(mutation, of_the_default_configuration_gives_settings_or_a_positioned_error) {
  generator random(8);
  const auto original = to_yaml({}, all_policies(), false);
  for (int i = 0; i < 20000; ++i)
    expect_orderly(mutate(original, random));
}

TEST(mutation, of_random_configurations_gives_settings_or_a_positioned_error) {
  generator random(9);
  for (int i = 0; i < 5000; ++i)
    expect_orderly(mutate(to_yaml(random_settings(random), all_policies(), false), random));
}

TEST(mutation, of_random_bytes_gives_settings_or_a_positioned_error) {
  generator random(10);
  for (int i = 0; i < 5000; ++i) {
    std::string text(random() % 200, ' ');
    for (auto& c : text)
      c = static_cast<char>(random());
    expect_orderly(text);
  }
}

} // namespace
} // namespace pikv::config::testing
