// SPDX-License-Identifier: Apache-2.0
/// \file
/// Random work on a cache that is the same for every backend, and how far its results lie apart.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "support/cache_harness.hpp"

namespace pikv::test {

struct outcome {
  std::vector<float> out;
  entry_account entries;
};

/// Appends and attends at random; what every attend gave. The seed decides everything. `inspect`
/// is called at the end.
template <class Inspect>
std::vector<outcome> play(const config::settings& s, std::uint64_t seed, int steps,
                          Inspect&& inspect) {
  std::mt19937_64 rng(seed);
  cache_harness h{s, random_shape(rng, 4), seed};
  for (int i = 0; i < 3; ++i)
    h.open();
  std::vector<outcome> all;
  for (int i = 0; i < steps; ++i) {
    const auto layer = h.pick(h.shape().layers);
    std::vector<step> steps_now;
    for (std::size_t x = 0; x < h.sequences.size(); ++x)
      if (h.pick(2) == 0)
        steps_now.push_back({x, 0, 1 + h.pick(h.pick(3) == 0 ? 60 : 4)});
    if (steps_now.empty())
      continue;
    auto append = h.append(layer, steps_now);
    EXPECT_TRUE(append.done.wait().ok()) << to_string(append.done.wait().code());
    auto a = h.attend(layer, steps_now);
    const auto& report = a.done.wait();
    EXPECT_TRUE(report.ok()) << (report ? "" : to_string(report.error()));
    if (!report)
      return all;
    EXPECT_TRUE(a.out.padding_untouched());
    auto& x = all.emplace_back();
    x.entries = report->entries;
    for (std::uint32_t r = 0; r < a.q.rows(); ++r)
      for (std::uint32_t q = 0; q < h.shape().query_heads; ++q)
        for (std::uint32_t c = 0; c < h.shape().head_dim; ++c)
          x.out.push_back(a.out.get(r, q, c));
  }
  inspect(h);
  return all;
}

inline std::vector<outcome> play(config::settings s, const char* backend, std::uint64_t seed,
                                 int steps) {
  s.devices.backend = backend;
  return play(s, seed, steps, [](cache_harness&) {});
}

inline double relative_error(const std::vector<float>& got, const std::vector<float>& want) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double d = static_cast<double>(got[i]) - static_cast<double>(want[i]);
    error += d * d;
    norm += static_cast<double>(want[i]) * static_cast<double>(want[i]);
  }
  return std::sqrt(error / norm);
}

} // namespace pikv::test
