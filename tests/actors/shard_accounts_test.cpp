// SPDX-License-Identifier: Apache-2.0
// Counts of what attends read against a count of every token.
#include <random>

#include <gtest/gtest.h>

#include <pikv/actors/shard_owner/accounts.hpp>

namespace {

using namespace pikv;

struct problem {
  leased_table settled, window;
  page_geometry geometry;
  gpu::sequence_rows rows;
  table_lease settled_lease, window_lease;
};

gpu::page_view page(std::uint32_t first, std::uint32_t tokens, bool kept) {
  static std::byte somewhere{};
  gpu::page_view v;
  v.data = kept ? &somewhere : nullptr;
  v.first_position = first;
  v.tokens = static_cast<std::uint16_t>(tokens);
  return v;
}

/// Pages come one by one, and some go: tables are leased in between, as attends do.
void make(problem& p, std::mt19937& rng) {
  p.geometry = {static_cast<std::uint32_t>(rng() % 5), 8,
                8 + static_cast<std::uint32_t>(rng() % 40)};
  const auto pages = rng() % 60;
  for (std::uint32_t i = 0; i < pages; ++i) {
    auto& t = p.settled.extend();
    t.views.push_back(page(p.geometry.first_position(i), 8, rng() % 6 != 0));
    t.memory.push_back({{}, {}, i});
    if (rng() % 5 == 0) {
      const auto lease = p.settled.lease();
      p.settled.write().views[rng() % (i + 1)].data = nullptr;
    }
  }
  auto& w = p.window.write();
  for (std::uint32_t i = 0; i < 3; ++i)
    w.views.push_back(page(p.geometry.first_position(static_cast<std::uint32_t>(pages) + i),
                           i == 2 ? 5 : 8, true));
  w.memory.resize(3);
  p.settled_lease = p.settled.lease();
  p.window_lease = p.window.lease();
  const auto end = p.window_lease.views().back().first_position + 5;
  const auto count = 1 + static_cast<std::uint32_t>(rng() % std::min(end, 70U));
  p.rows = {p.settled_lease.pages(), p.window_lease.views(), 0, count,
            static_cast<std::uint32_t>(rng() % (end - count + 1))};
}

/// f(view, position of the token) for every token that row `row` sees.
template <class F>
void each_token(const problem& p, std::uint32_t row, F f) {
  for (const auto views : {p.rows.settled.views, p.rows.window})
    for (const auto& v : views)
      for (std::uint32_t i = 0; i < v.tokens; ++i)
        if (v.first_position + i <= p.rows.first_position + row)
          f(v, views.data() == p.rows.window.data());
}

TEST(shard_accounts, equal_a_count_of_every_token) {
  std::mt19937 rng(11);
  for (int round = 0; round < 400; ++round) {
    problem p;
    make(p, rng);
    const auto& tokens = p.settled_lease.get()->tokens();
    std::uint64_t read = 0, evicted = 0;
    for (std::uint32_t row = 0; row < p.rows.row_count; ++row) {
      row_tokens want;
      each_token(p, row, [&](const gpu::page_view& v, bool in_window) {
        const bool old = p.geometry.is_old(v.first_position, v.tokens,
                                           p.rows.first_position + row);
        ++(v.data == nullptr ? want.evicted : old && !in_window ? want.old : want.always);
      });
      const auto got = count_row(p.rows, tokens, row, p.geometry);
      ASSERT_EQ(got.always, want.always) << round;
      ASSERT_EQ(got.old, want.old) << round;
      ASSERT_EQ(got.evicted, want.evicted) << round;
      read += want.always + want.old;
      evicted += want.evicted;
    }
    EXPECT_EQ(count_read(p.rows, tokens, nullptr, 3), 3 * read);
    EXPECT_EQ(count_evicted(p.rows, tokens, 3), 3 * evicted);
  }
}

} // namespace
