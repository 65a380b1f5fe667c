// SPDX-License-Identifier: Apache-2.0
// With everything routed, raw pages and nothing evicted, an attend is dense softmax attention.
#include <gtest/gtest.h>

#include "support/cache_harness.hpp"

namespace pikv::test {
namespace {

/// Random steps of random sequences, at most one each.
std::vector<step> random_steps(cache_harness& h, std::uint32_t layer, std::uint32_t limit) {
  std::vector<step> steps;
  for (std::size_t i = 0; i < h.sequences.size(); ++i) {
    const auto room = limit - h.sequences[i].layers[layer].tokens;
    if (room > 0 && h.pick(3) != 0)
      steps.push_back({i, 0, std::min(room, 1 + h.pick(h.pick(3) == 0 ? 60 : 4))});
  }
  std::shuffle(steps.begin(), steps.end(), h.rng);
  return steps;
}

/// Queries of the last tokens of each step, or of any earlier ones.
std::vector<step> random_queries(cache_harness& h, std::uint32_t layer,
                                 const std::vector<step>& appended) {
  std::vector<step> steps;
  for (const auto& s : appended) {
    const auto end = h.sequences[s.sequence].layers[layer].tokens;
    const auto tokens = 1 + h.pick(std::min(end, 6U));
    const auto last = h.pick(4) == 0 ? tokens + h.pick(end - tokens + 1) : end;
    steps.push_back({s.sequence, last - tokens, tokens});
  }
  return steps;
}

/// Appends and attends at random; returns how many attends were compared.
int compare_at_random(cache_harness& h, int rounds, std::uint32_t limit,
                      const attend_options& options = {}) {
  int cases = 0;
  for (std::uint32_t i = 0, n = 1 + h.pick(5); i < n; ++i)
    h.open();
  h.k_sigma = one_of(h.rng, {0.5F, 1.0F, 2.0F});
  for (int i = 0; i < rounds; ++i) {
    const auto layer = h.pick(h.shape().layers);
    auto steps = random_steps(h, layer, limit);
    if (steps.empty())
      continue;
    auto append = h.append(layer, steps);
    auto attend = h.attend(layer, random_queries(h, layer, steps), options);
    EXPECT_TRUE(append.done.wait().ok()) << to_string(append.done.wait().code());
    EXPECT_TRUE(is_dense(h, attend));
    if (::testing::Test::HasFailure())
      return cases;
    ++cases;
  }
  return cases;
}

int compare_runtimes(dtype stored, int runtimes, std::uint64_t seed) {
  int cases = 0;
  std::mt19937_64 rng(seed);
  for (int i = 0; i < runtimes && !::testing::Test::HasFailure(); ++i) {
    const auto settings = random_settings(rng, stored);
    cache_harness h{settings, random_shape(rng), rng()};
    SCOPED_TRACE(::testing::Message()
                 << "runtime " << i << ": page " << settings.cache.page_tokens << " sinks "
                 << settings.cache.sinks << " window " << settings.cache.window << " shards "
                 << settings.cache.shards << " devices " << settings.devices.count << " lanes "
                 << settings.runtime.lanes << " dim " << h.shape().head_dim);
    cases += compare_at_random(h, 20, 260);
  }
  return cases;
}

TEST(exactness, f32_pages_give_dense_attention_to_1e_5) {
  EXPECT_GE(compare_runtimes(dtype::f32, 40, 1), 600);
}

TEST(exactness, f16_pages_give_dense_attention_over_the_rounded_values) {
  EXPECT_GE(compare_runtimes(dtype::f16, 40, 2), 600);
}

TEST(exactness, bf16_pages_give_dense_attention_over_the_rounded_values) {
  EXPECT_GE(compare_runtimes(dtype::bf16, 40, 3), 600);
}

TEST(exactness, asking_for_exact_overrules_routing_and_selection) {
  std::mt19937_64 rng(4);
  int cases = 0;
  for (int i = 0; i < 60 && !HasFailure(); ++i) {
    auto settings = random_settings(rng, dtype::f32);
    settings.cache.window = settings.cache.page_tokens;
    settings.routing = choose("mass", {{"k", std::int64_t{1}}});
    settings.selection = choose(one_of(rng, {"mass", "quest", "all"}));
    cache_harness h{settings, random_shape(rng), rng()};
    cases += compare_at_random(h, 20, 200, {.exact = true});
  }
  EXPECT_GE(cases, 1000);
}

TEST(exactness, token_by_token_equals_one_chunk) {
  std::mt19937_64 rng(5);
  for (int i = 0; i < 12 && !HasFailure(); ++i) {
    auto settings = random_settings(rng, dtype::f32);
    cache_harness h{settings, random_shape(rng), rng()};
    h.plain_buffers = true;
    for (std::size_t tokens = 1; tokens < 90; ++tokens) {
      const auto slow = h.open(), fast = h.open();
      const auto n = 1 + h.pick(90);
      std::vector<step> whole{{fast, 0, n}};
      auto [k, v] = h.random_kv(whole);
      auto chunk = h.append(0, whole, k, v);
      std::vector<pending_append> singles;
      for (std::uint32_t t = 0; t < n; ++t) {
        std::vector<step> one{{slow, 0, 1}};
        auto [k1, v1] = h.random_kv(one);
        for (std::uint32_t head = 0; head < h.shape().kv_heads; ++head)
          for (std::uint32_t c = 0; c < h.shape().head_dim; ++c) {
            k1.set(0, head, c, k.get(t, head, c));
            v1.set(0, head, c, v.get(t, head, c));
          }
        singles.push_back(h.append(0, one, std::move(k1), std::move(v1)));
      }
      auto a = h.attend(0, {{fast, n - 1, 1}});
      auto b = h.attend(0, {{slow, n - 1, 1}}, a.q, h.buffer(1, h.shape().query_heads));
      ASSERT_TRUE(is_dense(h, a));
      ASSERT_TRUE(is_dense(h, b));
      // Pages on several devices would be merged in another order for the two.
      EXPECT_TRUE(settings.devices.count > 1 || a.out.bytes() == b.out.bytes());
      for (const auto& x : {slow, fast})
        EXPECT_TRUE(h.kv().close(h.sequences[x].id).wait().ok());
      h.sequences.clear();
    }
  }
}

} // namespace
} // namespace pikv::test
