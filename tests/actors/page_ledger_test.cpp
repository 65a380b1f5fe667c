// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <random>

#include <gtest/gtest.h>

#include <pikv/actors/scheduler/page_ledger.hpp>

namespace {

using namespace pikv;

/// Keeps what has the larger score longer.
struct by_score final : policies::scheduling_policy {
  bool mass = false;
  bool needs_mass() const noexcept override { return mass; }
  bool needs_reads() const noexcept override { return true; }
  double utility(const policies::page_record& p,
                 const policies::schedule_context&) const noexcept override {
    return mass ? p.mass : static_cast<double>(p.reads);
  }
};

constexpr std::uint32_t sinks = 2;
const by_score policy;

settled_event pages_of(sequence_id s, std::initializer_list<std::uint32_t> pages,
                       device_id device = {0}) {
  settled_event e{1, 0, s, 100, {}};
  for (auto p : pages)
    e.pages.push_back({s, p, {}, device, form::f16, 1});
  return e;
}

attended_event reads_of(sequence_id s, std::vector<page_use> uses) {
  return {0, s, 1, std::move(uses)};
}

void ignore_reuse(std::uint64_t) {}

std::vector<std::uint32_t> pages(const std::vector<victim>& list) {
  std::vector<std::uint32_t> x;
  for (const auto& v : list)
    x.push_back(v.page);
  return x;
}

using page_list = std::vector<std::uint32_t>;

TEST(page_ledger, counts_the_tokens_that_are_kept) {
  page_ledger x{8};
  x.settled(pages_of({1}, {0, 1, 2}), sinks);
  EXPECT_EQ(x.kept_tokens({1}, 0), 24U);
  EXPECT_EQ(x.kept_tokens({1}, 1), 0U);
  EXPECT_EQ(x.kept_tokens({2}, 0), 0U);
}

TEST(page_ledger, a_page_that_is_announced_twice_counts_once) {
  page_ledger x{8};
  x.settled(pages_of({1}, {0}), sinks);
  x.settled(pages_of({1}, {0}), sinks);
  EXPECT_EQ(x.kept_tokens({1}, 0), 8U);
}

TEST(page_ledger, takes_the_least_useful_first_and_the_oldest_of_equals) {
  page_ledger x{8};
  x.settled(pages_of({1}, {0, 1, 2}), sinks);
  x.attended(reads_of({1}, {{0, 1, 0}}), ignore_reuse);
  EXPECT_EQ(pages(x.take_lowest(sequence_id{1}, 0, 3, policy)), (page_list{1, 2, 0}));
}

TEST(page_ledger, what_was_taken_is_forgotten) {
  page_ledger x{8};
  x.settled(pages_of({1}, {0, 1}), sinks);
  x.take_lowest(sequence_id{1}, 0, 1, policy);
  EXPECT_EQ(x.kept_tokens({1}, 0), 8U);
  EXPECT_EQ(pages(x.take_lowest(sequence_id{1}, 0, 5, policy)), (page_list{1}));
}

TEST(page_ledger, takes_nothing_of_what_is_pinned) {
  page_ledger x{8};
  x.settled(pages_of({1}, {0}), sinks);
  x.pin({1}, true);
  EXPECT_TRUE(x.take_lowest(sequence_id{1}, 0, 1, policy).empty());
  EXPECT_TRUE(x.take_lowest(device_id{0}, 1, policy).empty());
  x.pin({1}, false);
  EXPECT_EQ(x.take_lowest(device_id{0}, 1, policy).size(), 1U);
}

TEST(page_ledger, takes_from_one_device_only) {
  page_ledger x{8};
  x.settled(pages_of({1}, {0}, {0}), sinks);
  x.settled(pages_of({2}, {7}, {1}), sinks);
  EXPECT_EQ(pages(x.take_lowest(device_id{1}, 9, policy)), (page_list{7}));
}

TEST(page_ledger, names_device_and_sequence_of_what_it_takes) {
  page_ledger x{8};
  x.settled(pages_of({5}, {3}, {2}), sinks);
  const auto list = x.take_lowest(device_id{2}, 1, policy);
  ASSERT_EQ(list.size(), 1U);
  EXPECT_EQ(list[0].sequence, sequence_id{5});
  EXPECT_EQ(list[0].device, device_id{2});
}

TEST(page_ledger, pages_that_no_query_has_seen_give_way_last) {
  page_ledger x{8};
  by_score by_mass;
  by_mass.mass = true;
  x.settled(pages_of({1}, {0}), sinks);
  x.attended(reads_of({1}, {{0, 1, 0.5F}}), ignore_reuse);
  x.settled(pages_of({1}, {1}), sinks); // its mass is 0 because nothing has asked yet
  EXPECT_EQ(pages(x.take_lowest(sequence_id{1}, 0, 2, by_mass)), (page_list{0, 1}));
}

TEST(page_ledger, tells_how_long_ago_a_page_was_read) {
  page_ledger x{8};
  x.settled(pages_of({1}, {0, 1}), sinks);
  std::vector<std::uint64_t> seen;
  auto note = [&](std::uint64_t ticks) { seen.push_back(ticks); };
  x.attended(reads_of({1}, {{0, 1, 0}}), note);
  x.attended(reads_of({1}, {{1, 0, 0}}), note); // listed, not read
  x.attended(reads_of({1}, {{0, 1, 0}}), note);
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{1, 2}));
}

TEST(page_ledger, forgets_a_device) {
  page_ledger x{8};
  x.settled(pages_of({1}, {0}, {0}), sinks);
  x.settled(pages_of({1}, {1}, {1}), sinks);
  x.forget_device({0});
  EXPECT_EQ(pages(x.take_lowest(sequence_id{1}, 0, 5, policy)), (page_list{1}));
}

TEST(page_ledger, a_fork_has_its_own_pages_and_no_pin) {
  page_ledger x{8};
  x.settled(pages_of({1}, {0}), sinks);
  x.pin({1}, true);
  x.fork({1}, {2});
  EXPECT_EQ(x.take_lowest(sequence_id{2}, 0, 5, policy).size(), 1U);
  EXPECT_EQ(x.kept_tokens({1}, 0), 8U);
}

TEST(page_ledger, what_was_closed_is_gone) {
  page_ledger x{8};
  x.settled(pages_of({1}, {0}), sinks);
  x.settled(pages_of({2}, {0}), sinks);
  x.close({1});
  x.close_if([](sequence_id s) { return s.value == 2; });
  EXPECT_TRUE(x.take_lowest(device_id{0}, 5, policy).empty());
}

/// Against a plain count of the reads, whatever the order in which pages settle and are named.
TEST(page_ledger, counts_reads_of_any_pages_in_any_order) {
  std::mt19937 rng(3);
  for (int round = 0; round < 30; ++round) {
    page_ledger x{8};
    std::map<std::uint32_t, std::uint32_t> reads;
    for (int event = 0; event < 60; ++event) {
      if (rng() % 3 == 0) {
        for (int i = 0; i < 5; ++i)
          if (const auto page = rng() % 400; reads.emplace(page, 0).second)
            x.settled(pages_of({1}, {static_cast<std::uint32_t>(page)}), sinks);
        continue;
      }
      std::vector<page_use> uses;
      for (std::uint32_t page = 0; page < 400; ++page)
        if (rng() % 20 == 0)
          uses.push_back({page, static_cast<std::uint32_t>(rng() % 2), 0});
      if (rng() % 4 == 0)
        std::ranges::shuffle(uses, rng);
      for (const auto& use : uses)
        if (auto it = reads.find(use.page); it != reads.end())
          it->second += use.reads > 0 ? 1 : 0;
      x.attended(reads_of({1}, uses), ignore_reuse);
    }
    EXPECT_EQ(x.kept_tokens({1}, 0), reads.size() * 8);
    std::vector<std::pair<std::uint32_t, std::uint32_t>> order; // (reads, page), ascending
    for (const auto& [page, n] : reads)
      order.emplace_back(n, page);
    std::ranges::sort(order);
    const auto half = order.size() / 2;
    page_list want;
    for (const auto& [n, page] : order)
      want.push_back(page);
    auto got = pages(x.take_lowest(sequence_id{1}, 0, half, policy));
    EXPECT_EQ(got, page_list(want.begin(), want.begin() + static_cast<std::ptrdiff_t>(half)));
    got = pages(x.take_lowest(sequence_id{1}, 0, want.size(), policy));
    EXPECT_EQ(got, page_list(want.begin() + static_cast<std::ptrdiff_t>(half), want.end()));
  }
}

} // namespace
