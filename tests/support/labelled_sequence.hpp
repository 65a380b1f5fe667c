// SPDX-License-Identifier: Apache-2.0
/// \file
/// A sequence whose entries are labelled one by one, for tests of cache.granularity: entry.
#pragma once

#include <string>
#include <vector>

#include "support/cache_harness.hpp"

namespace pikv::test {

inline constexpr std::uint32_t experts = 8;

inline config::settings entry_settings(const char* placement, std::uint32_t devices) {
  auto s = small_settings();
  s.devices.count = devices;
  s.cache = {8, dtype::f32, 3, 12, 4, 0, config::settle_granularity::entry};
  s.placement = choose(placement);
  return s;
}

/// Logits by which token t belongs to the expert that `labels[t]` says.
inline std::vector<float> gate_of(const std::vector<std::uint32_t>& labels, std::uint32_t first) {
  std::vector<float> gate((labels.size() - first) * experts);
  for (std::size_t t = first; t < labels.size(); ++t)
    gate[(t - first) * experts + labels[t]] = 5;
  return gate;
}

/// One sequence with two layers, of which the first is annotated.
struct labelled {
  cache_harness& h;
  std::size_t sequence;
  std::vector<std::uint32_t> labels{};

  std::vector<pending_append> grow(std::uint32_t n) {
    const auto first = static_cast<std::uint32_t>(labels.size());
    for (std::uint32_t i = 0; i < n; ++i)
      labels.push_back(h.pick(experts));
    std::vector<pending_append> out;
    for (const std::uint32_t layer : {0U, 1U}) {
      std::vector<step> steps{{sequence, 0, n}};
      out.push_back(h.append(layer, steps));
      if (layer > 0)
        continue;
      const batch_part part{h.sequences[sequence].id, first, n};
      EXPECT_TRUE(h.kv().annotate(0, std::span{&part, 1}, gate_of(labels, first)).wait().ok());
    }
    return out;
  }
};

inline void expect_ok(const std::vector<pending_append>& appends) {
  for (const auto& a : appends)
    EXPECT_TRUE(a.done.wait().ok()) << to_string(a.done.wait().code());
}

} // namespace pikv::test
