// SPDX-License-Identifier: Apache-2.0
#include "eval/study_math.hpp"
#include "eval/study_store.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include <moe_engine/dense_store.hpp>

namespace pikv::tools {
namespace {

constexpr model_shape shape{2, 4, 2, 16, 4};
constexpr study_geometry geometry{4, 24, 8};
constexpr std::uint32_t tokens = 181;

std::vector<float> random_values(std::size_t n, unsigned seed) {
  std::mt19937 random{seed};
  std::normal_distribution<float> value{0.0F, 1.0F};
  std::vector<float> out(n);
  for (auto& x : out)
    x = value(random);
  return out;
}

/// One sequence in layer 0 of a store, fed whole and attended whole.
struct attended {
  std::vector<float> k = random_values(tokens * 2 * 16, 1);
  std::vector<float> v = random_values(tokens * 2 * 16, 2);
  std::vector<float> q = random_values(tokens * 4 * 16, 3);
  std::vector<float> out = std::vector<float>(q.size());
  std::vector<float> lse = std::vector<float>(tokens * 4);
  entry_account entries;

  explicit attended(moe_engine::kv_store& kv, std::uint32_t layer = 0,
                    std::uint32_t chunk = tokens) {
    for (auto& x : k)
      x *= 2; // so that pages differ
    const auto id = *kv.open();
    for (std::uint32_t at = 0; at < tokens; at += chunk) {
      const auto n = std::min(chunk, tokens - at);
      const batch_part parts[] = {{id, at, n}};
      EXPECT_TRUE(kv.append(layer, parts, std::span{k}.subspan(at * 32, n * 32),
                            std::span{v}.subspan(at * 32, n * 32)));
      const auto x =
          kv.attend(layer, parts, std::span{q}.subspan(at * 64, n * 64),
                    std::span{out}.subspan(at * 64, n * 64), std::span{lse}.subspan(at * 4, n * 4));
      EXPECT_TRUE(x.ok());
      if (x.ok())
        entries += *x;
    }
  }

  double logit(std::size_t row, std::size_t head, std::size_t token) const {
    double dot = 0;
    for (std::size_t c = 0; c < 16; ++c)
      dot += static_cast<double>(q[(row * 4 + head) * 16 + c])
             * static_cast<double>(k[(token * 2 + head / 2) * 16 + c]);
    return dot / 4;
  }
};

/// log of the estimated mass of a page for one head, in float64.
double page_logit(const attended& x, const study_rule& rule, std::size_t row, std::size_t head,
                  std::size_t page) {
  const std::size_t first = geometry.sinks + page * geometry.page_tokens;
  double mass = 0, bound = 0;
  for (std::size_t c = 0; c < 16; ++c) {
    double sum = 0, squares = 0, low = 1e9, high = -1e9;
    for (std::size_t t = first; t < first + geometry.page_tokens; ++t) {
      const double key = x.k[(t * 2 + head / 2) * 16 + c];
      sum += key;
      squares += key * key;
      low = std::min(low, key);
      high = std::max(high, key);
    }
    const double mean = sum / geometry.page_tokens;
    const double variance = squares / geometry.page_tokens - mean * mean;
    const double q = static_cast<double>(x.q[(row * 4 + head) * 16 + c]) / 4;
    mass += q * mean + (rule.score == study_score::mass_first ? 0 : q * q * variance / 2);
    bound += std::max(q * low, q * high);
  }
  switch (rule.score) {
  case study_score::quest: return bound;
  case study_score::mixed: return (1 - rule.quest_share) * mass + rule.quest_share * bound;
  case study_score::oracle: {
    double all = 0;
    for (std::size_t t = first; t < first + geometry.page_tokens; ++t)
      all += std::exp(x.logit(row, head, t));
    return std::log(all);
  }
  default: return mass;
  }
}

/// Mass of what row reads for this head in any case: sinks and window.
double fixed_mass(const attended& x, std::size_t row, std::size_t head, std::size_t old) {
  double sum = 0;
  for (std::size_t t = 0; t <= row; ++t)
    if (t < geometry.sinks || t >= geometry.sinks + old * geometry.page_tokens)
      sum += std::exp(x.logit(row, head, t));
  return sum;
}

/// Pages that a KV head reads: the best by the mean over its query heads of their shares.
std::vector<bool> chosen_pages(const attended& x, const study_rule& rule, std::size_t row,
                               std::size_t kv_head, std::size_t old) {
  std::vector<double> shares(old);
  for (std::size_t head = 2 * kv_head; head < 2 * kv_head + 2; ++head) {
    std::vector<double> mass(old);
    double sum = rule.of_total ? fixed_mass(x, row, head, old) : 0;
    const double n = rule.score == study_score::oracle ? 1 : geometry.page_tokens;
    for (std::size_t p = 0; p < old; ++p)
      sum += mass[p] = n * std::exp(page_logit(x, rule, row, head, p));
    for (std::size_t p = 0; p < old; ++p)
      shares[p] += mass[p] / sum / 2;
  }
  std::vector<std::size_t> order(old);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](auto a, auto b) { return shares[a] > shares[b]; });
  std::vector<bool> out(old);
  const auto n = static_cast<std::size_t>(std::ceil(rule.share * static_cast<double>(old) - 1e-9));
  for (std::size_t i = 0; i < old; ++i)
    out[order[i]] = i < n || (rule.least_share > 0 && shares[order[i]] >= rule.least_share);
  return out;
}

/// Largest difference of output and lse from float64 attention over the chosen pages.
double worst_error(const attended& x, const study_rule& rule) {
  double worst = 0;
  for (std::size_t row = 0; row < tokens; ++row)
    for (std::size_t head = 0; head < 4; ++head) {
      const auto old = geometry.old_pages(static_cast<std::uint32_t>(row));
      const auto keep = chosen_pages(x, rule, row, head / 2, old);
      std::vector<double> out(16);
      double sum = 0;
      for (std::size_t t = 0; t <= row; ++t) {
        const auto page = t < geometry.sinks ? old : (t - geometry.sinks) / geometry.page_tokens;
        if (page < old && !keep[page])
          continue;
        const double w = std::exp(x.logit(row, head, t));
        sum += w;
        for (std::size_t c = 0; c < 16; ++c)
          out[c] += w * static_cast<double>(x.v[(t * 2 + head / 2) * 16 + c]);
      }
      for (std::size_t c = 0; c < 16; ++c)
        worst = std::max(
            worst, std::abs(out[c] / sum - static_cast<double>(x.out[(row * 4 + head) * 16 + c])));
      worst = std::max(worst, std::abs(std::log(sum) - static_cast<double>(x.lse[row * 4 + head])));
    }
  return worst;
}

struct rule_case {
  const char* name;
  study_rule rule;
};

class study_rules : public testing::TestWithParam<rule_case> {};

TEST_P(study_rules, attend_as_a_plain_reference) {
  moe_engine::thread_team team{2};
  study_store kv{shape, geometry, GetParam().rule, team};
  const attended x{kv};
  EXPECT_LT(worst_error(x, GetParam().rule), 2e-5);
}

TEST_P(study_rules, do_not_depend_on_chunks) {
  moe_engine::thread_team team{1};
  study_store whole{shape, geometry, GetParam().rule, team};
  study_store parts{shape, geometry, GetParam().rule, team};
  const attended a{whole}, b{parts, 0, 13};
  for (std::size_t i = 0; i < a.out.size(); ++i)
    ASSERT_NEAR(a.out[i], b.out[i], 1e-5);
  EXPECT_EQ(a.entries, b.entries);
}

INSTANTIATE_TEST_SUITE_P(
    all, study_rules,
    testing::Values(
        rule_case{"mass", {.score = study_score::mass, .share = 0.25}},
        rule_case{"mass_first", {.score = study_score::mass_first, .share = 0.25}},
        rule_case{"quest", {.score = study_score::quest, .share = 0.5}},
        rule_case{"mixed", {.score = study_score::mixed, .share = 0.25, .quest_share = 0.4}},
        rule_case{"oracle", {.score = study_score::oracle, .share = 0.125}},
        rule_case{"oracle_of_total",
                  {.score = study_score::oracle, .share = 0.25, .of_total = true}},
        rule_case{
            "mass_with_a_floor",
            {.score = study_score::mass, .share = 0.125, .of_total = true, .least_share = 0.03}},
        rule_case{"quest_of_old_with_a_floor",
                  {.score = study_score::quest, .share = 0.125, .least_share = 0.1}}),
    [](const auto& x) { return std::string{x.param.name}; });

TEST(study_store, without_a_rule_reads_everything) {
  moe_engine::thread_team team{1};
  study_store kv{shape, geometry, {}, team};
  moe_engine::dense_store dense{shape, dtype::f32, team};
  const attended a{kv}, b{dense};
  for (std::size_t i = 0; i < a.out.size(); ++i)
    ASSERT_NEAR(a.out[i], b.out[i], 1e-5);
  EXPECT_EQ(a.entries, b.entries);
}

TEST(study_store, accounts_for_what_it_left_out) {
  moe_engine::thread_team team{1};
  study_store kv{shape, geometry, study_rule{.share = 0.25}, team};
  const attended x{kv};
  EXPECT_TRUE(x.entries.adds_up());
  std::uint64_t read = 0;
  for (std::uint32_t row = 0; row < tokens; ++row) {
    const auto old = geometry.old_pages(row);
    read += row + 1 - geometry.page_tokens * (old - (old + 3) / 4);
  }
  EXPECT_EQ(x.entries.read, shape.kv_heads * read);
}

TEST(study_store, layers_have_shares_of_their_own) {
  moe_engine::thread_team team{1};
  const study_rule rule{.share = 0.25, .layer_weights = {0.5, 8}};
  study_store kv{shape, geometry, rule, team};
  const attended first{kv, 0}, second{kv, 1};
  EXPECT_LT(first.entries.read, second.entries.read);
  EXPECT_EQ(second.entries.not_selected, 0U); // 8 x 0.25 is all
}

TEST(study_store, random_pages_are_the_same_in_every_run) {
  moe_engine::thread_team one{1}, two{2};
  const study_rule rule{.score = study_score::random, .share = 0.25};
  study_store a{shape, geometry, rule, one}, b{shape, geometry, rule, two};
  const attended x{a}, y{b};
  EXPECT_EQ(x.out, y.out);
}

TEST(study_store, shows_the_observer_a_softmax_over_everything) {
  moe_engine::thread_team team{2};
  std::mutex mutex;
  std::vector<int> seen(tokens);
  const auto every = [](std::uint32_t) { return true; };
  study_store kv{
      shape, geometry, {}, team, {every, [&](const study_row& x) {
                                    const std::lock_guard lock{mutex};
                                    ++seen[x.position];
                                    EXPECT_EQ(x.old_pages, geometry.old_pages(x.position));
                                    for (std::size_t g = 0; g < x.group; ++g) {
                                      const auto* w = x.weights + g * x.weight_stride;
                                      EXPECT_NEAR(std::accumulate(w, w + x.position + 1, 0.0), 1,
                                                  1e-5);
                                    }
                                  }}};
  const attended x{kv};
  EXPECT_EQ(seen, std::vector<int>(tokens, 2)); // once a KV head
}

TEST(study_store, errors_are_those_of_a_cache) {
  moe_engine::thread_team team{1};
  study_store kv{shape, geometry, {}, team};
  std::vector<float> x(64);
  const batch_part stranger[] = {{sequence_id{9}, 0, 1}};
  EXPECT_EQ(kv.append(0, stranger, std::span{x}.first(32), std::span{x}.first(32)).code(),
            errc::unknown_sequence);
  const auto id = *kv.open();
  const batch_part late[] = {{id, 5, 1}};
  EXPECT_EQ(kv.append(0, late, std::span{x}.first(32), std::span{x}.first(32)).code(),
            errc::position_gap);
  EXPECT_EQ(kv.append(7, late, std::span{x}.first(32), std::span{x}.first(32)).code(),
            errc::out_of_range);
  EXPECT_EQ(kv.append(0, late, x, x).code(), errc::shape_mismatch);
  EXPECT_EQ(kv.attend(0, late, x, x, {}).code(), errc::position_gap);
  EXPECT_EQ(kv.close(sequence_id{9}).code(), errc::unknown_sequence);
}

TEST(exponentials, sum_of_powers_and_zero_for_nothing) {
  for (std::size_t n = 1; n < 40; ++n) {
    auto x = random_values(n, static_cast<unsigned>(n));
    x[n / 2] = -std::numeric_limits<float>::infinity();
    if (n == 1)
      x[0] = 3;
    const auto before = x;
    const auto [top, sum] = exponentials(x);
    double wanted = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const double p = std::exp2(static_cast<double>(before[i]) - static_cast<double>(top));
      EXPECT_NEAR(x[i], p, 1e-6);
      wanted += p;
    }
    EXPECT_NEAR(sum, wanted, 1e-5);
    EXPECT_EQ(top, *std::ranges::max_element(before));
  }
}

} // namespace
} // namespace pikv::tools
