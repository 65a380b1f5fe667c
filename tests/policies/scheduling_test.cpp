// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/scheduling/scheduling_policy.hpp>

#include <cmath>
#include <random>

#include "support.hpp"

namespace pikv::policies::testing {
namespace {

std::unique_ptr<scheduling_policy> made(const std::string& name,
                                        const given_options& options = {}) {
  return must_make(scheduling_table(), name, options);
}

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const auto& x : scheduling_table())
    out.push_back(x.info.name);
  return out;
}

class scheduling_contract : public ::testing::TestWithParam<std::string> {};

TEST_P(scheduling_contract, utilities_are_finite_and_the_same_for_the_same_record) {
  const auto policy = made(GetParam());
  std::mt19937_64 random(2);
  for (int i = 0; i < 500; ++i) {
    const auto large = [&] { return 1e300 * static_cast<double>(random() % 9); };
    page_record page;
    page.first_position = static_cast<std::uint32_t>(random());
    page.tokens = static_cast<std::uint32_t>(random() % 65);
    page.settled_at = random();
    page.last_read_at = random();
    page.reads = random() % 2 == 0 ? random() : 0;
    page.queries = random() % 3;
    page.mass = large();
    page.last_mass = large();
    page.prompt_mass = large();
    page.mean_gap = static_cast<double>(random());
    page.reuse = static_cast<double>(random() % 101) / 100;
    page.turnover = static_cast<double>(random() % 1'000'001);
    page.expected_mass = large();
    page.next_use = random() % (page_record::never + 1);
    page.keys = {static_cast<std::uint8_t>(random() % 8), 1e38F, -2.5F, 3e38F};
    const schedule_context now{random(), static_cast<std::uint32_t>(random()), random()};
    EXPECT_TRUE(std::isfinite(policy->utility(page, now)));
    EXPECT_EQ(policy->utility(page, now), policy->utility(page, now));
  }
}

TEST_P(scheduling_contract, takes_an_empty_record) {
  EXPECT_EQ(made(GetParam())->utility({}, {}), 0);
}

TEST_P(scheduling_contract, utilities_stay_finite_for_facts_that_are_not) {
  for (const double x : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    page_record page;
    page.mass = page.last_mass = page.prompt_mass = page.expected_mass = x;
    const auto narrow = static_cast<float>(x);
    page.keys = {key_fact_norm | key_fact_likeness | key_fact_reach, narrow, narrow, narrow};
    EXPECT_TRUE(std::isfinite(made(GetParam())->utility(page, {})));
  }
}

/// What ages() denies must not happen: then an order kept by the utility at the last use is wrong.
TEST_P(scheduling_contract, utilities_that_do_not_age_depend_on_no_clock) {
  const auto policy = made(GetParam());
  if (policy->ages())
    GTEST_SKIP() << "this one ages";
  page_record page;
  page.first_position = 64;
  page.tokens = 16;
  page.settled_at = 7;
  page.last_read_at = 20;
  page.reads = 3;
  page.turnover = 10;
  page.mass = 2;
  page.keys = {key_fact_norm | key_fact_likeness | key_fact_reach, 1, 0.5F, 2};
  const auto then = policy->utility(page, {20, 100, 0});
  EXPECT_EQ(policy->utility(page, {2000, 9000, 1999}), then);
  page.queries = 500; // counts on without a use
  EXPECT_EQ(policy->utility(page, {2000, 9000, 1999}), then);
}

INSTANTIATE_TEST_SUITE_P(every, scheduling_contract, ::testing::ValuesIn(names()),
                         [](const auto& x) { return x.param; });

TEST(lru_scheduling, is_the_tick_of_the_last_read) {
  page_record page;
  page.last_read_at = 17;
  EXPECT_EQ(made("lru")->utility(page, {.now = 40}), 17);
}

TEST(lru_scheduling, needs_reads_only) {
  EXPECT_TRUE(made("lru")->needs_reads());
  EXPECT_FALSE(made("lru")->needs_mass());
}

TEST(h2o_scheduling, is_the_mass_per_query) {
  page_record page;
  page.mass = 6;
  page.queries = 4;
  EXPECT_EQ(made("h2o")->utility(page, {}), 1.5);
}

TEST(h2o_scheduling, counts_no_queries_as_one) {
  page_record page;
  page.mass = 6;
  EXPECT_EQ(made("h2o")->utility(page, {}), 6);
}

TEST(h2o_scheduling, is_the_plain_mass_when_not_normalised) {
  page_record page;
  page.mass = 6;
  page.queries = 4;
  EXPECT_EQ(made("h2o", {{"normalise", false}})->utility(page, {}), 6);
}

TEST(h2o_scheduling, needs_mass_only) {
  EXPECT_TRUE(made("h2o")->needs_mass());
  EXPECT_FALSE(made("h2o")->needs_reads());
}

TEST(lfu_scheduling, is_the_log_of_the_reads_when_counts_do_not_age) {
  page_record page;
  page.reads = 7;
  page.last_read_at = 1000;
  EXPECT_EQ(made("lfu", {{"half_life", std::int64_t{0}}})->utility(page, {}), 3);
}

TEST(lfu_scheduling, a_half_life_without_reads_halves_the_count) {
  const auto policy = made("lfu", {{"half_life", std::int64_t{100}}});
  page_record young, old;
  young.reads = 3; // 1 + reads = 4
  young.last_read_at = 500;
  old.reads = 7; // 8, halved once
  old.last_read_at = 400;
  EXPECT_DOUBLE_EQ(policy->utility(young, {}), policy->utility(old, {}));
}

TEST(tova_scheduling, is_the_mass_of_the_last_attend) {
  page_record page;
  page.mass = 9;
  page.last_mass = 0.25;
  EXPECT_EQ(made("tova")->utility(page, {}), 0.25);
  EXPECT_TRUE(made("tova")->needs_mass());
}

TEST(snap_scheduling, is_the_mass_of_the_prompts_end_for_pages_of_the_prompt) {
  page_record page;
  page.settled_at = 3;
  page.prompt_mass = 0.125;
  page.last_mass = 0.5;
  EXPECT_EQ(made("snap")->utility(page, {.now = 9, .last_prompt_at = 4}), 0.125);
}

TEST(snap_scheduling, keeps_what_was_generated_before_the_whole_prompt) {
  page_record prompt, generated;
  prompt.settled_at = 3;
  prompt.prompt_mass = 1;
  generated.settled_at = 5;
  generated.first_position = 1;
  const schedule_context now{.now = 9, .last_prompt_at = 4};
  EXPECT_GT(made("snap")->utility(generated, now), made("snap")->utility(prompt, now));
}

TEST(key_norm_scheduling, the_longest_keys_go_first_after_those_without_a_norm) {
  page_record none, longer, shorter;
  longer.keys = {.known = key_fact_norm, .norm = 9};
  shorter.keys = {.known = key_fact_norm, .norm = 2};
  const auto policy = made("key_norm");
  EXPECT_LT(policy->utility(none, {}), policy->utility(longer, {}));
  EXPECT_LT(policy->utility(longer, {}), policy->utility(shorter, {}));
  EXPECT_EQ(policy->needs_keys(), key_fact_norm);
}

TEST(key_diff_scheduling, the_likest_keys_go_first_after_those_not_known) {
  page_record none, like, unlike;
  like.keys = {.known = key_fact_likeness, .likeness = 0.9F};
  unlike.keys = {.known = key_fact_likeness, .likeness = -0.5F};
  const auto policy = made("key_diff");
  EXPECT_LT(policy->utility(none, {}), policy->utility(like, {}));
  EXPECT_EQ(policy->utility(unlike, {}), 2.5);
  EXPECT_LT(policy->utility(like, {}), policy->utility(unlike, {}));
  EXPECT_EQ(policy->needs_keys(), key_fact_likeness);
}

TEST(quest_scheduling, is_the_reach) {
  page_record page;
  page.keys = {.known = key_fact_reach, .reach = 4};
  EXPECT_EQ(made("quest")->utility(page, {}), 4);
  EXPECT_EQ(made("quest")->needs_keys(), key_fact_reach);
}

TEST(flexgen_scheduling, is_the_rate_of_reads_times_the_cheaper_way_back) {
  page_record page;
  page.first_position = 2000;
  page.tokens = 16;
  page.settled_at = 10;
  page.reads = 4;
  const schedule_context now{.now = 19};
  const given_options costs{{"recompute_us", 50.0}, {"per_context_us", 5.0}};
  EXPECT_DOUBLE_EQ(made("flexgen", costs)->utility(page, now), 5.0 / 10 * 16 * (50 + 10));
  auto fetched = costs;
  fetched.emplace_back("fetch_us", 100.0);
  EXPECT_DOUBLE_EQ(made("flexgen", fetched)->utility(page, now), 5.0 / 10 * 100);
}

TEST(belady_scheduling, the_farthest_next_use_goes_first) {
  page_record soon, late, never;
  soon.next_use = 5;
  late.next_use = 6;
  never.next_use = page_record::never;
  const auto policy = made("belady");
  EXPECT_LT(policy->utility(late, {}), policy->utility(soon, {}));
  EXPECT_LT(policy->utility(never, {}), policy->utility(late, {}));
}

TEST(lru_plus_scheduling, is_the_formula) {
  page_record page;
  page.tokens = 16;
  page.last_read_at = 1000;
  page.turnover = 100;
  page.reuse = 0.5;
  const auto policy = made("lru_plus");
  EXPECT_EQ(policy->utility(page, {}), 1000 + 100 * 8 * 0.5);
  page.reads = 1;
  page.mean_gap = 30;
  EXPECT_EQ(policy->utility(page, {}), 1000 + 100 * 8 * 0.5 + 400 - 30);
  page.mean_gap = 9999;
  EXPECT_EQ(policy->utility(page, {}), 1000 + 100 * 8 * 0.5 + 400 - 200);
}

TEST(lru_plus_scheduling, is_lru_where_nothing_is_known) {
  page_record page;
  page.tokens = 16;
  page.last_read_at = 17;
  EXPECT_EQ(made("lru_plus")->utility(page, {}), 17);
}

TEST(streaming_scheduling, is_the_position) {
  page_record page;
  page.first_position = 320;
  EXPECT_EQ(made("streaming")->utility(page, {}), 320);
}

TEST(streaming_scheduling, needs_nothing) {
  EXPECT_FALSE(made("streaming")->needs_mass());
  EXPECT_FALSE(made("streaming")->needs_reads());
}

} // namespace
} // namespace pikv::policies::testing
