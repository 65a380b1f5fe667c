// SPDX-License-Identifier: Apache-2.0
#include "trace.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pikv::tools {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

result<trace> jsonl(std::string_view text) { return parse_jsonl(text, "x.jsonl", {}); }

TEST(trace, reads_mooncake) {
  const auto x =
      jsonl(R"({"timestamp": 0, "input_length": 700, "output_length": 3, "hash_ids": [9, 4]}
{"timestamp": 5, "input_length": 512, "output_length": 0, "hash_ids": [9]}
)");
  ASSERT_TRUE(x.ok()) << x.error().what;
  EXPECT_TRUE(x->prefix);
  EXPECT_EQ(x->blocks, 2U);
  EXPECT_THAT(x->begin, ElementsAre(0, 2, 3));
  EXPECT_THAT(x->block, ElementsAre(0, 1, 0));
  EXPECT_THAT(x->position, ElementsAre(0, 1, 0));
  EXPECT_THAT(x->last_tokens, ElementsAre(188, 512));
  EXPECT_THAT(x->tag, ElementsAre(2, 0));
}

TEST(trace, reads_page_traces_with_facts) {
  const auto x = jsonl(
      R"({"format": "pikv-trace", "version": 1, "block_tokens": 16, "prefix": false, "keys": [[1, 0.5, 2], [3, 0.25, 4]]}
{"blocks": [1, 0], "positions": [7, 3], "tag": 5, "last_tokens": 9, "mass": [0.5, 0.25], "expected": [1, 2]}
{"blocks": [1], "mass": [0.125], "expected": [3]}
)");
  ASSERT_TRUE(x.ok()) << x.error().what;
  EXPECT_FALSE(x->prefix);
  EXPECT_EQ(x->block_tokens, 16U);
  EXPECT_THAT(x->block, ElementsAre(1, 0, 1));
  EXPECT_THAT(x->position, ElementsAre(7, 3, 0));
  EXPECT_THAT(x->tag, ElementsAre(5, 0));
  EXPECT_THAT(x->last_tokens, ElementsAre(9, 16));
  EXPECT_THAT(x->mass, ElementsAre(0.5, 0.25, 0.125));
  EXPECT_THAT(x->expected, ElementsAre(1, 2, 3));
  ASSERT_EQ(x->keys.size(), 2U);
  EXPECT_EQ(x->keys[1].norm, 3);
  EXPECT_EQ(x->keys[1].likeness, 0.25F);
  EXPECT_EQ(x->keys[1].reach, 4);
}

TEST(trace, cuts_azures_requests_into_rounds_of_reads) {
  trace_options o;
  o.block_tokens = 512;
  o.step_tokens = 16;
  o.token_seconds = 1;
  const auto x = parse_azure("TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
                             "2023-11-16 18:00:00.5,1020,20\r\n"
                             "2023-11-16 18:00:10.0,100,0\r\n",
                             "a.csv", o);
  ASSERT_TRUE(x.ok()) << x.error().what;
  EXPECT_FALSE(x->prefix);
  EXPECT_EQ(x->blocks, 4U); // three of the first, one of the second
  // 0.5 s: 1020 tokens; 10 s: the second; 16.5 s: 1036 tokens
  EXPECT_THAT(x->begin, ElementsAre(0, 2, 3, 6));
  EXPECT_THAT(x->block, ElementsAre(0, 1, 3, 0, 1, 2));
  EXPECT_THAT(x->last_tokens, ElementsAre(508, 100, 12));
}

struct bad_line {
  const char* text;
  const char* what;
};

TEST(trace, bad_lines_are_refused_with_their_number) {
  const std::string head = R"({"format": "pikv-trace", "version": 1, "block_tokens": 16})"
                           "\n";
  for (const auto& [text, what] :
       {bad_line{"{", "x.jsonl:2"}, bad_line{"{\"a\": 1}", "hash_ids"},
        bad_line{R"({"blocks": [1, 1]})", "twice"},
        bad_line{R"({"blocks": [1], "last_tokens": 17})", "last_tokens"},
        bad_line{R"({"blocks": [1], "positions": [1, 2]})", "as long as"},
        bad_line{R"({"blocks": [-1]})", "x.jsonl:2"}, bad_line{R"({"blocks": "a"})", "x.jsonl:2"},
        bad_line{R"({"format": "pikv-trace", "version": 1, "block_tokens": 16})", "first line"}}) {
    const auto x = jsonl(head + text);
    ASSERT_FALSE(x.ok()) << text;
    EXPECT_EQ(x.code(), errc::io_failed);
    EXPECT_THAT(x.error().what, HasSubstr(what)) << text;
  }
  EXPECT_THAT(jsonl(R"({"format": "pikv-trace", "version": 2, "block_tokens": 16})").error().what,
              HasSubstr("version"));
  EXPECT_THAT(jsonl(head
                    + R"({"blocks": [1], "mass": [1]})"
                      "\n"
                      R"({"blocks": [1]})")
                  .error()
                  .what,
              HasSubstr("every request or in none"));
  EXPECT_THAT(jsonl(head).error().what, HasSubstr("no request"));
  EXPECT_THAT(
      parse_azure("TIMESTAMP,ContextTokens,GeneratedTokens\n2023,1,2\n", "a.csv", {}).error().what,
      HasSubstr("a.csv:2"));
}

TEST(trace, a_file_that_is_not_there_or_of_no_known_format_is_refused) {
  EXPECT_EQ(read_trace("/no/such/file", {}).code(), errc::io_failed);
}

TEST(trace, tags_are_the_logarithm_of_the_answer) {
  EXPECT_EQ(tag_of_answer(0), 0);
  EXPECT_EQ(tag_of_answer(1), 1);
  EXPECT_EQ(tag_of_answer(2), 1);
  EXPECT_EQ(tag_of_answer(3), 2);
  EXPECT_EQ(tag_of_answer(126), 6);
  EXPECT_EQ(tag_of_answer(127), 7);
}

} // namespace
} // namespace pikv::tools
