// SPDX-License-Identifier: Apache-2.0
// What a selection reads, against scores in float64 from the definition: per row and scope, the top
// ceil(share x old pages) by the mean over the scope's heads of the softmax of the page's score.
#include <set>

#include <gtest/gtest.h>

#include "support/cache_harness.hpp"

namespace pikv::test {
namespace {

struct rule {
  std::uint32_t page = 8, sinks = 0, window = 8;
  bool quest = false, shared = false;
  double share = 0.125;

  /// Page of a position: 0 for sinks, then 1, 2, ...
  std::uint32_t page_of(std::uint32_t t) const { return t < sinks ? 0 : 1 + (t - sinks) / page; }
  std::uint32_t first(std::uint32_t p) const { return sinks + (p - 1) * page; }
  /// Pages whose last position is at least a window older than the query: 1 ... old.
  std::uint32_t old(std::uint32_t t) const {
    return t + 1 < window + sinks ? 0 : (t + 1 - window - sinks) / page;
  }
  std::size_t wanted(std::uint32_t t) const {
    return static_cast<std::size_t>(std::ceil(share * old(t)));
  }
};

/// log m or Quest's bound of one page for one query head.
double score(const cache_harness& h, const pending_attend& a, const rule& r, std::uint32_t row,
             std::uint32_t head, std::uint32_t page) {
  const auto& s = h.shape();
  const auto& k = h.sequences[a.where(row).second].layers[a.layer].k;
  double sum = r.quest ? 0 : std::log(r.page);
  for (std::uint32_t c = 0; c < s.head_dim; ++c) {
    const double q = static_cast<double>(a.q.get(row, head, c)) / std::sqrt(s.head_dim);
    double mean = 0, square = 0, low = 1e30, high = -1e30;
    for (std::uint32_t i = 0; i < r.page; ++i) {
      const auto t = std::size_t{r.first(page)} + i;
      const double x = static_cast<double>(k[(t * s.kv_heads + head / s.group()) * s.head_dim + c]);
      mean += x / r.page;
      square += x * x / r.page;
      low = std::min(low, x);
      high = std::max(high, x);
    }
    sum += r.quest ? std::max(q * low, q * high) : q * mean + q * q * (square - mean * mean) / 2;
  }
  return sum;
}

/// Mean of the softmax over the old pages of `heads` query heads from `head` on; by page.
std::vector<double> shares(const cache_harness& h, const pending_attend& a, const rule& r,
                           std::uint32_t row, std::uint32_t head, std::uint32_t heads) {
  const auto old = r.old(a.where(row).first);
  std::vector<double> out(old + 1, 0);
  for (std::uint32_t i = 0; i < heads; ++i) {
    std::vector<double> m;
    for (std::uint32_t p = 1; p <= old; ++p)
      m.push_back(score(h, a, r, row, head + i, p));
    const double top = *std::ranges::max_element(m);
    double sum = 0;
    for (auto& x : m)
      sum += x = std::exp(x - top);
    for (std::uint32_t p = 1; p <= old; ++p)
      out[p] += m[p - 1] / sum / heads;
  }
  return out;
}

/// V is one-hot in the page, so output channel p is the weight that page p got.
std::set<std::uint32_t> pages_read(const pending_attend& a, std::uint32_t row, std::uint32_t head,
                                   std::uint32_t pages) {
  std::set<std::uint32_t> out;
  for (std::uint32_t p = 0; p <= pages; ++p)
    if (a.out.get(row, head, p) > 0)
      out.insert(p);
  return out;
}

pending_append grow(cache_harness& h, std::size_t x, std::uint32_t n, const rule& r) {
  std::vector<step> steps{{x, 0, n}};
  auto [k, v] = h.random_kv(steps);
  const auto begin = h.sequences[x].layers[0].tokens;
  for (std::uint32_t t = 0; t < n; ++t)
    for (std::uint32_t head = 0; head < h.shape().kv_heads; ++head)
      for (std::uint32_t c = 0; c < h.shape().head_dim; ++c)
        v.set(t, head, c, c == r.page_of(begin + t) ? 1.0F : 0.0F);
  return h.append(0, steps, std::move(k), std::move(v));
}

/// Summaries are kept in f16, so scores that are this close may come in either order.
constexpr double tie = 4e-3;

void check_scope(const cache_harness& h, const pending_attend& a, const rule& r, std::uint32_t row,
                 std::uint32_t head, std::uint32_t heads) {
  const auto t = a.where(row).first;
  const auto old = r.old(t);
  const auto read = pages_read(a, row, head, r.page_of(t));
  for (std::uint32_t i = 0; i < heads; ++i) {
    ASSERT_EQ(pages_read(a, row, head + i, r.page_of(t)), read) << "head " << head + i;
    ASSERT_TRUE(near(
        h.dense(a, row, head + i, [&](std::uint32_t x) { return read.contains(r.page_of(x)); }), a,
        row, head + i, h.shape().query_heads));
  }
  for (std::uint32_t x = 0; x <= t; ++x)
    if (const auto p = r.page_of(x); p == 0 || p > old) {
      ASSERT_TRUE(read.contains(p)) << "position " << x << " is young";
    }
  double lowest = 1e30, highest = -1e30;
  std::size_t chosen = 0;
  if (old == 0)
    return;
  const auto m = shares(h, a, r, row, head, heads);
  for (std::uint32_t p = 1; p <= old; ++p)
    if (read.contains(p)) {
      ++chosen;
      lowest = std::min(lowest, m[p]);
    } else {
      highest = std::max(highest, m[p]);
    }
  ASSERT_EQ(chosen, r.wanted(t)) << "of " << old << " at " << t;
  ASSERT_GE(lowest, highest * (1 - tie)) << "at " << t;
}

/// Returns how many (row, scope) selections were checked.
int check_runtime(std::mt19937_64& rng, bool quest) {
  auto s = small_settings();
  rule r{8,
         static_cast<std::uint32_t>(rng() % 5),
         8 + static_cast<std::uint32_t>(rng() % 9),
         quest,
         rng() % 2 == 0,
         one_of(rng, {0.0625, 0.125, 0.25, 0.5})};
  s.cache = {r.page,
             one_of(rng, {dtype::f32, dtype::f16, dtype::bf16}),
             r.sinks,
             r.window,
             one_of(rng, {1U, 3U, 16U}),
             0};
  s.devices.count = one_of(rng, {1U, 2U, 4U});
  s.runtime.lanes = one_of(rng, {1U, 2U});
  s.selection =
      choose(quest ? "quest" : "mass",
             {{"share", r.share}, {"heads", std::string{r.shared ? "shared" : "per_kv_head"}}});
  cache_harness h{s, {1, one_of(rng, {2U, 4U, 8U}), 2, 64, 0}, rng()};
  h.plain_buffers = true;
  h.k_sigma = 0.7F;
  h.open();
  int checked = 0;
  while (h.sequences[0].layers[0].tokens < 330 && !::testing::Test::HasFailure()) {
    const auto n = 1 + h.pick(60);
    const auto rows = std::min(n, 4U);
    auto append = grow(h, 0, n, r);
    auto a = h.attend(0, {{0, h.sequences[0].layers[0].tokens - rows, rows}});
    EXPECT_TRUE(append.done.wait().ok());
    if (!a.done.wait()) {
      ADD_FAILURE() << to_string(a.done.wait().error());
      break;
    }
    const auto heads = r.shared ? h.shape().query_heads : h.shape().group();
    for (std::uint32_t row = 0; row < rows; ++row)
      for (std::uint32_t head = 0; head < h.shape().query_heads; head += heads, ++checked)
        check_scope(h, a, r, row, head, heads);
  }
  return checked;
}

TEST(selection_semantics, mass_reads_the_pages_with_the_largest_estimate) {
  std::mt19937_64 rng(1);
  int checked = 0;
  for (int i = 0; i < 24 && !HasFailure(); ++i)
    checked += check_runtime(rng, false);
  EXPECT_GE(checked, 1000);
}

TEST(selection_semantics, quest_reads_the_pages_with_the_largest_bound) {
  std::mt19937_64 rng(2);
  int checked = 0;
  for (int i = 0; i < 24 && !HasFailure(); ++i)
    checked += check_runtime(rng, true);
  EXPECT_GE(checked, 1000);
}

} // namespace
} // namespace pikv::test
