// SPDX-License-Identifier: Apache-2.0
/// \file
/// A runtime with a cache, driven through the public face, beside a plain record of what was
/// appended (rounded through the stored type) and dense float64 attention over it.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <pikv/actors/runtime.hpp>

#include "support/cache_cases.hpp"
#include "support/engine_buffer.hpp"

namespace pikv::test {

/// K and V of one layer of one sequence, `[tokens, kv_heads, head_dim]`.
struct layer_history {
  std::vector<float> k, v;
  std::uint32_t tokens = 0;
};

struct live_sequence {
  sequence_id id{};
  std::vector<layer_history> layers;
};

/// One part of a batch, by index into cache_harness::sequences.
struct step {
  std::size_t sequence = 0;
  std::uint32_t position = 0;
  std::uint32_t tokens = 0;
};

struct pending_append {
  engine_buffer k, v;
  completion<append_report> done;
};

/// An attend with all its buffers; they stay in place when it is moved.
struct pending_attend {
  std::uint32_t layer = 0;
  std::vector<step> steps;
  engine_buffer q, out;
  std::vector<float> lse;
  completion<attend_report> done;

  /// The (position, sequence index) of a row.
  std::pair<std::uint32_t, std::size_t> where(std::uint32_t row) const {
    for (const auto& s : steps) {
      if (row < s.tokens)
        return {s.position + row, s.sequence};
      row -= s.tokens;
    }
    return {0, 0};
  }
};

struct dense_row {
  std::vector<double> out;
  double lse = 0;
};

class cache_harness {
public:
  std::mt19937_64 rng;
  std::vector<live_sequence> sequences;
  float k_sigma = 1, q_sigma = 1;
  bool plain_buffers = false; ///< dense f32 NHD buffers only

  cache_harness(const config::settings& settings, const model_shape& shape, std::uint64_t seed)
      : rng(seed), stored_(settings.cache.stored) {
    auto started = runtime::start(settings);
    EXPECT_TRUE(started.ok()) << (started ? "" : to_string(started.error()));
    runtime_.emplace(std::move(*started));
    auto opened = runtime_->open(shape);
    EXPECT_TRUE(opened.ok()) << (opened ? "" : to_string(opened.error()));
    cache_.emplace(std::move(*opened));
  }

  /// Another user of the same cache, with sequences of its own.
  cache_harness(cache shared, dtype stored, std::uint64_t seed)
      : rng(seed), stored_(stored), cache_(std::move(shared)) {}

  runtime& run() { return *runtime_; }
  cache& kv() { return *cache_; }
  const model_shape& shape() const { return cache_->shape(); }
  std::uint32_t pick(std::uint32_t n) { return static_cast<std::uint32_t>(rng() % n); }

  std::size_t open() {
    auto id = cache_->open();
    EXPECT_TRUE(id.ok());
    sequences.push_back({*id, std::vector<layer_history>(shape().layers)});
    return sequences.size() - 1;
  }

  std::vector<batch_part> parts(const std::vector<step>& steps) const {
    std::vector<batch_part> out;
    for (const auto& s : steps)
      out.push_back({sequences[s.sequence].id, s.position, s.tokens});
    return out;
  }

  engine_buffer buffer(std::uint32_t rows, std::uint32_t heads) {
    return plain_buffers ? engine_buffer{dtype::f32, layout::nhd, rows, heads, shape().head_dim}
                         : random_buffer(rng, rows, heads, shape().head_dim);
  }

  /// Appends random K and V at the end of each step's sequence; positions are filled in.
  pending_append append(std::uint32_t layer, std::vector<step>& steps) {
    auto [k, v] = random_kv(steps);
    return append(layer, steps, std::move(k), std::move(v));
  }

  pending_append append(std::uint32_t layer, std::vector<step>& steps, engine_buffer k,
                        engine_buffer v) {
    std::uint32_t row = 0;
    for (auto& s : steps) {
      auto& h = sequences[s.sequence].layers[layer];
      s.position = h.tokens;
      for (std::uint32_t i = 0; i < s.tokens; ++i, ++row)
        for (std::uint32_t head = 0; head < shape().kv_heads; ++head)
          for (std::uint32_t c = 0; c < shape().head_dim; ++c) {
            h.k.push_back(as_stored(k.get(row, head, c), stored_));
            h.v.push_back(as_stored(v.get(row, head, c), stored_));
          }
      h.tokens += s.tokens;
    }
    auto done = cache_->append(layer, parts(steps), k.in(), v.in());
    return {std::move(k), std::move(v), std::move(done)};
  }

  std::pair<engine_buffer, engine_buffer> random_kv(const std::vector<step>& steps) {
    auto k = buffer(rows_of(steps), shape().kv_heads);
    auto v = buffer(rows_of(steps), shape().kv_heads);
    k.fill_normal(rng, k_sigma);
    v.fill_normal(rng, 1);
    return {std::move(k), std::move(v)};
  }

  /// One sequence, waited for.
  void fill(std::size_t sequence, std::uint32_t layer, std::uint32_t tokens) {
    std::vector<step> steps{{sequence, 0, tokens}};
    auto p = append(layer, steps);
    EXPECT_TRUE(p.done.wait().ok()) << to_string(p.done.wait().code());
  }

  pending_attend attend(std::uint32_t layer, const std::vector<step>& steps,
                        attend_options options = {}) {
    auto q = buffer(rows_of(steps), shape().query_heads);
    q.fill_normal(rng, q_sigma);
    return attend(layer, steps, std::move(q), buffer(rows_of(steps), shape().query_heads), options);
  }

  pending_attend attend(std::uint32_t layer, const std::vector<step>& steps, engine_buffer q,
                        engine_buffer out, attend_options options = {}) {
    std::vector<float> lse(std::size_t{q.rows()} * shape().query_heads);
    options.lse = lse;
    auto done = cache_->attend(layer, parts(steps), q.in(), out.out(), options);
    return {layer, steps, std::move(q), std::move(out), std::move(lse), std::move(done)};
  }

  /// Softmax attention of one row and query head over the positions for which `keep` is true.
  template <class Keep>
  dense_row dense(const pending_attend& a, std::uint32_t row, std::uint32_t head,
                  Keep&& keep) const {
    const auto [position, sequence] = a.where(row);
    const auto& h = sequences[sequence].layers[a.layer];
    const std::size_t dim = shape().head_dim, kv = head / shape().group();
    const auto at = [&](std::size_t t) { return (t * shape().kv_heads + kv) * dim; };
    std::vector<double> q(dim), logits(position + 1, -std::numeric_limits<double>::infinity());
    for (std::uint32_t c = 0; c < dim; ++c)
      q[c] = static_cast<double>(a.q.get(row, head, c)) / std::sqrt(static_cast<double>(dim));
    for (std::uint32_t t = 0; t <= position; ++t) {
      if (!keep(t))
        continue;
      logits[t] = 0;
      for (std::size_t c = 0; c < dim; ++c)
        logits[t] += q[c] * static_cast<double>(h.k[at(t) + c]);
    }
    const double top = *std::max_element(logits.begin(), logits.end());
    dense_row r{std::vector<double>(dim), 0};
    double sum = 0;
    for (std::uint32_t t = 0; t <= position; ++t) {
      const double w = std::exp(logits[t] - top);
      sum += w;
      for (std::size_t c = 0; w > 0 && c < dim; ++c)
        r.out[c] += w * static_cast<double>(h.v[at(t) + c]);
    }
    for (auto& x : r.out)
      x /= sum;
    r.lse = top + std::log(sum);
    return r;
  }

  static std::uint32_t rows_of(const std::vector<step>& steps) {
    std::uint32_t n = 0;
    for (const auto& s : steps)
      n += s.tokens;
    return n;
  }

private:
  dtype stored_;
  std::optional<runtime> runtime_;
  std::optional<cache> cache_;
};

/// Each element within 1e-5 of the row's norm and, for 16-bit outputs, within twice the rounding
/// and one unit in the last place of the value itself; the lse within 1e-5.
inline ::testing::AssertionResult near(const dense_row& want, const pending_attend& a,
                                       std::uint32_t row, std::uint32_t head, std::uint32_t heads) {
  double norm = 0, error = 0;
  for (std::uint32_t c = 0; c < want.out.size(); ++c) {
    const double got = static_cast<double>(a.out.get(row, head, c));
    const double ulp = a.out.type() == dtype::f32   ? 0
                       : a.out.type() == dtype::f16 ? std::ldexp(1.0, -10)
                                                    : std::ldexp(1.0, -7);
    // An f16 output below 2^-14 has a fixed step of 2^-24.
    const double step = a.out.type() == dtype::f16 ? std::ldexp(1.0, -24) : 0;
    const double excess = std::abs(got - want.out[c]) - 2 * ulp * std::abs(want.out[c]) - step;
    if (std::isnan(got))
      return ::testing::AssertionFailure() << "row " << row << " head " << head << " is NaN";
    error += std::max(excess, 0.0) * std::max(excess, 0.0);
    norm += want.out[c] * want.out[c];
  }
  const double lse = static_cast<double>(a.lse[std::size_t{row} * heads + head]);
  if (std::sqrt(error) > 1e-5 * std::sqrt(norm))
    return ::testing::AssertionFailure()
           << "row " << row << " head " << head << ": relative error " << std::sqrt(error / norm);
  if (!(std::abs(lse - want.lse) <= 1e-5 * std::max(1.0, std::abs(want.lse))))
    return ::testing::AssertionFailure()
           << "row " << row << " head " << head << ": lse " << lse << ", expected " << want.lse;
  return ::testing::AssertionSuccess();
}

/// All rows and heads against dense attention over everything appended.
inline ::testing::AssertionResult is_dense(const cache_harness& h, const pending_attend& a) {
  const auto& report = a.done.wait();
  if (!report)
    return ::testing::AssertionFailure() << to_string(report.error());
  for (std::uint32_t row = 0; row < a.q.rows(); ++row)
    for (std::uint32_t head = 0; head < h.shape().query_heads; ++head)
      if (auto r = near(h.dense(a, row, head, [](std::uint32_t) { return true; }), a, row, head,
                        h.shape().query_heads);
          !r)
        return r;
  if (!a.out.padding_untouched())
    return ::testing::AssertionFailure() << "the output's padding was written";
  return ::testing::AssertionSuccess();
}

} // namespace pikv::test
