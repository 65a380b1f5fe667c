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
    page_record page{
        static_cast<std::uint32_t>(random()),     16, random(), random(), random(), random() % 3,
        1e300 * static_cast<double>(random() % 9)};
    const schedule_context now{random(), static_cast<std::uint32_t>(random())};
    EXPECT_TRUE(std::isfinite(policy->utility(page, now)));
    EXPECT_EQ(policy->utility(page, now), policy->utility(page, now));
  }
}

TEST_P(scheduling_contract, takes_an_empty_record) {
  EXPECT_EQ(made(GetParam())->utility({}, {}), 0);
}

TEST_P(scheduling_contract, utilities_stay_finite_for_a_mass_that_is_not) {
  for (const double x : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    page_record page;
    page.mass = x;
    EXPECT_TRUE(std::isfinite(made(GetParam())->utility(page, {})));
  }
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
