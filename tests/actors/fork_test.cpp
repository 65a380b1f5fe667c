// SPDX-License-Identifier: Apache-2.0
// A fork shares what its parent held at that moment; afterwards neither sees the other.
#include <gtest/gtest.h>

#include "support/cache_harness.hpp"

namespace pikv::test {
namespace {

std::size_t fork(cache_harness& h, std::size_t parent) {
  auto child = h.kv().fork(h.sequences[parent].id);
  const auto& id = child.wait();
  EXPECT_TRUE(id.ok()) << to_string(id.code());
  h.sequences.push_back({*id, h.sequences[parent].layers});
  return h.sequences.size() - 1;
}

/// The last tokens of a sequence, in a layer that has any.
void check_end(cache_harness& h, std::size_t sequence) {
  for (std::uint32_t layer = 0; layer < h.shape().layers; ++layer) {
    const auto end = h.sequences[sequence].layers[layer].tokens;
    if (end == 0)
      continue;
    const auto n = std::min(end, 1 + h.pick(4));
    EXPECT_TRUE(is_dense(h, h.attend(layer, {{sequence, end - n, n}}))) << "sequence " << sequence;
  }
}

pending_append grow(cache_harness& h, std::size_t sequence) {
  std::vector<step> steps{{sequence, 0, 1 + h.pick(h.pick(3) == 0 ? 50 : 9)}};
  return h.append(h.pick(h.shape().layers), steps);
}

TEST(fork, relatives_diverge_without_touching_each_other) {
  std::mt19937_64 rng(1);
  int cases = 0;
  for (int i = 0; i < 40 && !HasFailure(); ++i) {
    auto settings = random_settings(rng, one_of(rng, {dtype::f32, dtype::f16, dtype::bf16}));
    cache_harness h{settings, random_shape(rng), rng()};
    h.open();
    EXPECT_TRUE(grow(h, 0).done.wait().ok());
    for (int k = 0; k < 30; ++k, ++cases) {
      const auto x = h.pick(static_cast<std::uint32_t>(h.sequences.size()));
      switch (h.pick(5)) {
      case 0:
        check_end(h, fork(h, x));
        check_end(h, x);
        break;
      case 1:
        if (h.sequences.size() > 1) {
          EXPECT_TRUE(h.kv().close(h.sequences[x].id).wait().ok());
          h.sequences.erase(h.sequences.begin() + x);
          break;
        }
        [[fallthrough]];
      default: EXPECT_TRUE(grow(h, x).done.wait().ok());
      }
      check_end(h, h.pick(static_cast<std::uint32_t>(h.sequences.size())));
    }
  }
  EXPECT_GE(cases, 1000);
}

TEST(fork, in_the_middle_of_a_page_copies_before_either_writes) {
  std::mt19937_64 rng(2);
  int cases = 0;
  for (std::uint32_t page : {8U, 16U, 32U, 64U}) {
    auto settings = small_settings();
    settings.cache = {page, dtype::f32, 3, page, 3, 0};
    settings.devices.count = 2;
    cache_harness h{settings, {1, 2, 1, 32, 0}, rng()};
    for (std::uint32_t k = 0; k < 130; ++k) {
      h.sequences.clear();
      h.open();
      h.fill(0, 0, 1 + (k * 7 + h.pick(7)) % 150);
      const auto a = fork(h, 0), b = fork(h, a);
      std::vector<pending_append> appends; // all in flight together
      for (auto x : {a, std::size_t{0}, b, a, b, std::size_t{0}})
        appends.push_back(grow(h, x));
      for (auto x : {std::size_t{0}, a, b}) {
        check_end(h, x);
        ++cases;
      }
      for (const auto& x : appends)
        EXPECT_TRUE(x.done.wait().ok());
      for (const auto& s : h.sequences)
        EXPECT_TRUE(h.kv().close(s.id).wait().ok());
    }
  }
  EXPECT_GE(cases, 1000);
}

TEST(fork, takes_the_appends_before_it_and_none_after) {
  auto settings = small_settings();
  settings.runtime.lanes = 2;
  settings.devices.count = 2;
  cache_harness h{settings, {1, 2, 1, 32, 0}, 3};
  for (int k = 0; k < 300; ++k) {
    h.sequences.clear();
    h.open();
    auto before = grow(h, 0);
    const auto frozen = h.sequences[0].layers;
    auto forked = h.kv().fork(h.sequences[0].id);
    auto after = grow(h, 0);
    ASSERT_TRUE(forked.wait().ok());
    h.sequences.push_back({*forked.wait(), frozen});
    check_end(h, 1);
    check_end(h, 0);
    auto beyond = h.attend(0, {{1, frozen[0].tokens, 1}});
    EXPECT_EQ(beyond.done.wait().code(), errc::position_gap);
    EXPECT_TRUE(before.done.wait().ok() && after.done.wait().ok());
    for (const auto& s : h.sequences)
      EXPECT_TRUE(h.kv().close(s.id).wait().ok());
  }
}

TEST(fork, eviction_from_one_leaves_the_other_whole) {
  auto settings = small_settings();
  settings.cache = {8, dtype::f32, 2, 8, 4, 0};
  settings.devices.count = 2;
  cache_harness h{settings, {1, 2, 1, 32, 0}, 4};
  auto limited = settings;
  limited.budget = choose("uniform", {{"tokens", std::int64_t{24}}});
  for (int k = 0; k < 100; ++k) {
    h.sequences.clear();
    h.open();
    ASSERT_TRUE(h.run().reload(settings).wait().ok());
    h.fill(0, 0, 40 + h.pick(60));
    const auto child = fork(h, 0);
    ASSERT_TRUE(h.run().reload(limited).wait().ok());
    h.fill(child, 0, 16);
    auto a = h.attend(0, {{child, h.sequences[child].layers[0].tokens - 1, 1}});
    ASSERT_TRUE(a.done.wait().ok());
    EXPECT_GT(a.done.wait()->entries.evicted, 0U);
    check_end(h, 0);
    for (const auto& s : h.sequences)
      EXPECT_TRUE(h.kv().close(s.id).wait().ok());
  }
}

} // namespace
} // namespace pikv::test
