// SPDX-License-Identifier: Apache-2.0
// Budgets by layer in a running cache: what layers keep, in all and each, also across reloads.
#include <string>

#include <gtest/gtest.h>

#include "support/cache_harness.hpp"

namespace pikv::test {
namespace {

constexpr std::uint32_t layers = 4, page = 8;

config::settings settings_with(const char* budget, std::int64_t tokens) {
  auto s = small_settings();
  s.cache.page_tokens = page;
  s.cache.stored = dtype::f32;
  s.budget = choose(budget, {{"tokens", tokens}});
  return s;
}

/// Appends `n` tokens to every layer and attends the last one; entries each layer keeps.
std::vector<std::uint64_t> grow(cache_harness& h, std::size_t x, std::uint32_t n) {
  std::vector<std::uint64_t> kept;
  for (std::uint32_t l = 0; l < layers; ++l) {
    h.fill(x, l, n);
    const auto a = h.attend(l, {{x, h.sequences[x].layers[l].tokens - 1, 1}});
    const auto& r = a.done.wait();
    EXPECT_TRUE(r.ok() && r->entries.adds_up());
    kept.push_back(r.ok() ? r->entries.read : 0);
  }
  return kept;
}

std::uint64_t sum(const std::vector<std::uint64_t>& x) {
  std::uint64_t out = 0;
  for (const auto n : x)
    out += n;
  return out;
}

TEST(layer_budget, pyramid_keeps_as_much_as_uniform_at_every_length_and_most_in_front) {
  cache_harness even{settings_with("uniform", 120), {layers, 1, 1, 32, 0}, 1};
  cache_harness steep{settings_with("pyramid", 120), {layers, 1, 1, 32, 0}, 1};
  const auto a = even.open(), b = steep.open();
  std::vector<std::uint64_t> got;
  for (int i = 0; i < 120; ++i) {
    const auto n = 1 + even.pick(7);
    const auto want = grow(even, a, n);
    got = grow(steep, b, n);
    ASSERT_LE(sum(got), layers * 120U);
    ASSERT_EQ(sum(got), sum(want)) << steep.sequences[b].layers[0].tokens;
    ASSERT_TRUE(std::ranges::is_sorted(got, std::greater{}));
  }
  EXPECT_GT(got.front(), got.back() + 100);
}

/// K is 0 in layer 0 and grows with position in the others, Q is all ones: there the newest entries
/// get all the mass, and in layer 0 all entries the same.
void grow_with_mass_in_front(cache_harness& h, std::size_t x, std::uint32_t n) {
  for (std::uint32_t l = 0; l < layers; ++l) {
    std::vector<step> steps{{x, 0, n}};
    auto [k, v] = h.random_kv(steps);
    const auto at = h.sequences[x].layers[l].tokens;
    for (std::uint32_t t = 0; t < n; ++t)
      for (std::uint32_t c = 0; c < h.shape().head_dim; ++c)
        k.set(t, 0, c, l == 0 ? 0.0F : 0.1F * static_cast<float>(at + t));
    auto append = h.append(l, steps, std::move(k), std::move(v));
    EXPECT_TRUE(append.done.wait().ok());
    auto q = h.buffer(1, 1);
    for (std::uint32_t c = 0; c < h.shape().head_dim; ++c)
      q.set(0, 0, c, 1);
    const auto a = h.attend(l, {{x, at + n - 1, 1}}, std::move(q), h.buffer(1, 1));
    EXPECT_TRUE(a.done.wait().ok());
  }
}

TEST(layer_budget, layer_mass_moves_what_is_kept_to_the_layer_that_looks_back) {
  cache_harness h{settings_with("layer_mass", 120), {layers, 1, 1, 32, 0}, 2};
  h.plain_buffers = true;
  const auto x = h.open();
  for (int i = 0; i < 150; ++i)
    grow_with_mass_in_front(h, x, 4);
  const auto kept = grow(h, x, 1);
  EXPECT_LE(sum(kept), layers * 120U);
  EXPECT_GE(sum(kept), layers * (120U - 2 * page));
  EXPECT_GT(kept[0], 120U + 8 * page);
  for (std::uint32_t l = 1; l < layers; ++l)
    EXPECT_LT(kept[l], 120U);
}

TEST(layer_budget, a_reload_between_them_holds_the_total_and_drops_nothing_twice) {
  std::mt19937_64 rng(3);
  cache_harness h{settings_with("uniform", 120), {layers, 2, 1, 32, 0}, 3};
  const auto x = h.open();
  auto before = grow(h, x, 1);
  for (int i = 0; i < 150 && !HasFailure(); ++i) {
    const auto n = 1 + h.pick(9);
    if (i % 10 == 9) {
      const auto s = settings_with(one_of(rng, {"uniform", "pyramid", "layer_mass"}), 120);
      ASSERT_TRUE(h.run().reload(s).wait().ok());
    }
    const auto kept = grow(h, x, n);
    EXPECT_GE(sum(kept), std::min<std::uint64_t>(layers * h.sequences[x].layers[0].tokens,
                                                 layers * (16U + page)));
    for (std::uint32_t l = 0; l < layers; ++l)
      EXPECT_LE(kept[l], before[l] + n) << "what went does not come back";
    before = kept;
  }
  // A page settles in every layer: now each layer obeys the last budget.
  ASSERT_TRUE(h.run().reload(settings_with("pyramid", 120)).wait().ok());
  EXPECT_LE(sum(grow(h, x, 2 * page)), layers * 120U);
}

TEST(layer_budget, a_reload_with_a_bad_option_is_refused_and_changes_nothing) {
  cache_harness h{settings_with("uniform", 120), {layers, 2, 1, 32, 0}, 4};
  auto s = settings_with("pyramid", 120);
  s.budget.options.set("beta", 0.5);
  const auto done = h.run().reload(s);
  ASSERT_FALSE(done.wait().ok());
  EXPECT_NE(done.wait().error().what.find("beta"), std::string::npos) << done.wait().error().what;
  const auto x = h.open();
  grow(h, x, 100);
  const auto kept = grow(h, x, 100);
  EXPECT_EQ(kept.front(), kept.back());
}

} // namespace
} // namespace pikv::test
