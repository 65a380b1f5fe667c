// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/scheduling/page_uses.hpp>

#include <map>
#include <random>

#include <gtest/gtest.h>

namespace pikv::policies {
namespace {

TEST(page_uses, a_page_that_settled_has_no_reads_and_no_gap) {
  page_uses uses;
  page_record x;
  uses.settled(x, 7);
  EXPECT_EQ(x.settled_at, 7U);
  EXPECT_EQ(x.last_read_at, 7U);
  EXPECT_EQ(x.reads, 0U);
  EXPECT_EQ(x.mean_gap, 0);
}

TEST(page_uses, the_first_gap_counts_whole_and_later_ones_by_three_tenths) {
  page_uses uses;
  page_record x;
  uses.settled(x, 10);
  uses.read(x, 30, 0);
  EXPECT_DOUBLE_EQ(x.mean_gap, 20);
  uses.read(x, 70, 0);
  EXPECT_DOUBLE_EQ(x.mean_gap, 0.3 * 40 + 0.7 * 20);
  EXPECT_EQ(x.reads, 2U);
  EXPECT_EQ(x.last_read_at, 70U);
}

TEST(page_uses, the_turnover_is_kept_pages_over_pages_that_settle_in_a_tick) {
  page_uses uses;
  for (int i = 0; i < 5000; ++i)
    uses.tick(4, 1000);
  page_record x;
  uses.settled(x, 1);
  EXPECT_NEAR(x.turnover, 250, 1e-6);
}

TEST(page_uses, a_cache_in_which_nothing_settles_turns_over_slowly_but_finitely) {
  page_uses uses;
  uses.tick(0, 1000);
  page_record x;
  uses.settled(x, 1);
  EXPECT_EQ(x.turnover, 1e6);
}

TEST(page_uses, the_turnover_is_at_most_the_mean_gap_of_all_reads) {
  page_uses uses;
  for (int i = 0; i < 5000; ++i)
    uses.tick(4, 1000);
  page_record x, y;
  uses.settled(x, 0);
  uses.settled(y, 0);
  uses.read(x, 100, 0);
  EXPECT_DOUBLE_EQ(x.turnover, 100);
  uses.read(y, 40, 0);
  EXPECT_DOUBLE_EQ(y.turnover, 70);
}

/// Pages of tag 1 are always read again, those of tag 2 never: the shares must tell them apart.
TEST(page_uses, learns_which_class_is_read_again) {
  page_uses uses;
  page_record again, once;
  for (std::uint64_t i = 0; i < 5000; ++i) {
    again = once = {};
    again.tag = 1;
    once.tag = 2;
    uses.settled(again, 2 * i);
    uses.settled(once, 2 * i);
    uses.read(again, 2 * i + 1, 1);
    again.reads = 0; // so that its class is that of pages that settle
  }
  page_record next;
  next.tag = 1;
  uses.settled(next, 20'000);
  EXPECT_GT(next.reuse, 0.9);
  next.tag = 2;
  uses.settled(next, 20'000);
  EXPECT_LT(next.reuse, 0.1);
}

/// Against counts in a map.
TEST(page_uses, shares_are_those_of_a_plain_count) {
  std::mt19937_64 random(1);
  reuse_classes classes;
  std::map<std::pair<int, int>, std::pair<double, double>> plain; // used, again
  double used = 0, again = 0;
  for (int i = 0; i < 20'000; ++i) {
    const auto tag = static_cast<std::uint16_t>(random() % 400); // beyond 255: one class
    const auto reads = random() % 7;
    const std::pair key{std::min<int>(tag, 255),
                        static_cast<int>(std::min<std::uint64_t>(reads, 3))};
    classes.used(tag, reads);
    ++plain[key].first;
    ++used;
    if (random() % 4 < tag % 4) {
      classes.read_again(tag, reads);
      ++plain[key].second;
      ++again;
    }
    const auto mean = (again + 0.3) / (used + 1);
    const auto [n, k] = plain[key];
    EXPECT_NEAR(classes.share(tag, reads), std::min(1.0, (k + 25 * mean) / (n + 25)), 1e-12);
  }
}

} // namespace
} // namespace pikv::policies
