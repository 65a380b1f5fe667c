// SPDX-License-Identifier: Apache-2.0
#include <set>

#include <gtest/gtest.h>

#include "reuse_distance.hpp"
#include "utility_heap.hpp"

#include "tools/replay/traces.hpp"

namespace pikv::tools {
namespace {

using policies::page_record;

std::unique_ptr<policies::scheduling_policy> made(const std::string& name) {
  auto x = policies::make(policies::scheduling_table(), {name, {}}, {});
  EXPECT_TRUE(x.ok());
  return std::move(*x);
}

/// Page trace of single uses.
trace uses_of(std::vector<std::uint32_t> blocks) {
  trace x;
  x.prefix = false;
  for (const auto b : blocks) {
    x.blocks = std::max(x.blocks, b + 1);
    x.block.push_back(b);
    x.position.push_back(b);
    x.begin.push_back(x.block.size());
    x.tag.push_back(0);
    x.last_tokens.push_back(16);
  }
  return x;
}

trace random_uses(std::mt19937_64& rng) {
  std::vector<std::uint32_t> blocks(200 + rng() % 200);
  const auto distinct = 5 + rng() % 30;
  for (auto& b : blocks)
    b = static_cast<std::uint32_t>(std::min(rng() % distinct, rng() % distinct));
  return uses_of(blocks);
}

replay_result run(const trace& x, const std::string& name, std::uint64_t capacity) {
  return replay(x, next_uses(x), *made(name), capacity, 8 * capacity);
}

TEST(utility_heap, pops_in_the_order_of_a_sorted_set_whatever_was_set_before) {
  std::mt19937_64 rng(1);
  for (int round = 0; round < 50; ++round) {
    utility_heap heap{60};
    std::set<rank> plain;
    std::vector<rank> now(60);
    std::vector<bool> in(60);
    for (int step = 0; step < 400; ++step) {
      if (rng() % 3 != 0 || plain.empty()) {
        const auto block = static_cast<std::uint32_t>(rng() % 60);
        if (in[block])
          plain.erase(now[block]);
        now[block] = {static_cast<double>(rng() % 8), static_cast<std::uint32_t>(rng() % 3), block};
        in[block] = true;
        plain.insert(now[block]);
        heap.set(now[block]);
      } else {
        const auto block = heap.pop();
        ASSERT_EQ(block, plain.begin()->block);
        plain.erase(plain.begin());
        in[block] = false;
      }
      ASSERT_EQ(heap.size(), plain.size());
    }
  }
}

TEST(next_uses, are_those_of_a_plain_search) {
  std::mt19937_64 rng(2);
  for (int round = 0; round < 20; ++round) {
    const auto x = random_trace(rng, round % 2 == 0, false);
    const auto next = next_uses(x);
    for (std::size_t i = 0; i < x.requests(); ++i)
      for (auto k = x.begin[i]; k < x.begin[i + 1]; ++k) {
        auto want = page_record::never;
        for (auto j = x.requests(); --j > i;)
          if (std::ranges::find(x.request(j), x.block[k]) != x.request(j).end())
            want = j;
        EXPECT_EQ(next[k], want);
      }
  }
}

TEST(replay, lru_of_two_blocks_by_hand) {
  const auto r = run(uses_of({0, 1, 0, 2, 0, 1, 1}), "lru", 2);
  EXPECT_EQ(r.uses, 7U);
  EXPECT_EQ(r.hits, 3U);                // 0, 0 and the last 1
  EXPECT_EQ(r.evicted, 2U);             // 1 for 2, 2 for 1
  EXPECT_EQ(r.evicted_then_wanted, 1U); // 1
}

TEST(replay, a_block_is_of_use_only_behind_a_whole_prefix) {
  trace x;
  x.blocks = 3;
  x.block = {0, 1, 2, 0, 1, 2};
  x.position = {0, 1, 2, 0, 1, 2};
  x.begin = {0, 3, 6};
  x.tag = {0, 0};
  x.last_tokens = {16, 16};
  // lru lets the end of the prefix go; streaming, its beginning.
  EXPECT_EQ(run(x, "lru", 2).hits, 2U);
  EXPECT_EQ(run(x, "streaming", 2).hits, 0U);
  EXPECT_EQ(run(x, "streaming", 2).kept, 2U);
}

/// The same hits as a replay by the definition, for every policy, kind of trace and capacity.
TEST(replay, is_that_of_the_definition) {
  std::mt19937_64 rng(3);
  for (const auto& entry : policies::scheduling_table()) {
    for (int round = 0; round < 30 && !::testing::Test::HasFailure(); ++round) {
      const auto x = random_trace(rng, round % 2 == 0, true);
      const auto capacity = rng() % 30;
      const auto history = rng() % 20;
      const auto policy = made(entry.info.name);
      SCOPED_TRACE(entry.info.name + " capacity " + std::to_string(capacity));
      const auto got = replay(x, next_uses(x), *policy, capacity, history);
      const auto want = replay_plainly(x, *policy, capacity, history);
      EXPECT_EQ(got.uses, want.uses);
      EXPECT_EQ(got.hits, want.hits);
      EXPECT_EQ(got.kept, want.kept);
      EXPECT_EQ(got.evicted, want.evicted);
      EXPECT_EQ(got.evicted_then_wanted, want.evicted_then_wanted);
    }
  }
}

TEST(replay, no_policy_keeps_more_of_what_is_used_than_belady) {
  std::mt19937_64 rng(4);
  for (int round = 0; round < 60; ++round) {
    const auto x = random_trace(rng, round % 2 == 0, true);
    const auto capacity = 1 + rng() % 30;
    const auto best = run(x, "belady", capacity).kept;
    for (const auto& entry : policies::scheduling_table())
      EXPECT_LE(run(x, entry.info.name, capacity).kept, best) << entry.info.name;
  }
}

TEST(replay, an_infinite_cache_misses_first_uses_only) {
  std::mt19937_64 rng(5);
  for (int round = 0; round < 20; ++round) {
    const auto x = random_uses(rng);
    const auto r = run(x, "lru", 1'000'000);
    EXPECT_EQ(r.uses - r.hits, reuse_distances(x).first_uses);
    EXPECT_EQ(r.evicted, 0U);
  }
}

TEST(reuse_distances, are_those_of_a_plain_count) {
  std::mt19937_64 rng(6);
  for (int round = 0; round < 30; ++round) {
    const auto x = random_trace(rng, round % 2 == 0, false);
    std::vector<std::uint64_t> bins(33);
    std::uint64_t first = 0;
    for (std::size_t k = 0; k < x.uses(); ++k) {
      std::set<std::uint32_t> others;
      auto j = k;
      while (j > 0 && x.block[j - 1] != x.block[k])
        others.insert(x.block[--j]);
      if (j == 0) {
        ++first;
        continue;
      }
      std::size_t bin = 0;
      while ((std::size_t{1} << bin) <= others.size())
        ++bin;
      ++bins[bin];
    }
    auto got = reuse_distances(x);
    EXPECT_EQ(got.first_uses, first);
    got.bins.resize(bins.size());
    EXPECT_EQ(got.bins, bins);
  }
}

/// Mattson's stack property: one pass gives the hits of LRU of every size.
TEST(reuse_distances, give_the_hits_of_lru_where_requests_are_single_uses) {
  std::mt19937_64 rng(7);
  for (int round = 0; round < 20; ++round) {
    const auto x = random_uses(rng);
    const auto h = reuse_distances(x);
    std::uint64_t hits = 0;
    for (std::size_t bin = 0; bin < h.bins.size(); ++bin) {
      hits += h.bins[bin]; // distances below 2^bin
      EXPECT_EQ(run(x, "lru", std::uint64_t{1} << bin).hits, hits) << bin;
    }
  }
}

} // namespace
} // namespace pikv::tools
