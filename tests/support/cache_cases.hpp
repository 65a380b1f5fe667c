// SPDX-License-Identifier: Apache-2.0
/// \file
/// Random settings and model shapes small enough for a thousand cases, and rounding by its
/// definition.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <utility>

#include <pikv/config/settings.hpp>
#include <pikv/messages/types.hpp>

namespace pikv::test {

/// `x` with `bits` significant bits, halves to even; `least` is the exponent of subnormals.
inline double rounded(double x, int bits, int least) {
  int e = 0;
  std::frexp(x, &e);
  const double step = std::ldexp(1.0, std::max(e, least) - bits);
  return std::nearbyint(x / step) * step;
}

/// The value that a raw page of `type` keeps.
inline float as_stored(float x, dtype type) {
  if (type == dtype::f32)
    return x;
  const double y = static_cast<double>(x);
  return static_cast<float>(type == dtype::f16 ? rounded(y, 11, -13) : rounded(y, 8, -125));
}

/// Settings for small tests: one worker a device, no endpoint, little memory.
inline config::settings small_settings() {
  config::settings s;
  s.runtime.latency = config::latency_profile::idle;
  s.devices.threads = 1;
  s.devices.memory_bytes = std::uint64_t{32} << 20;
  s.devices.scratch_bytes = std::uint64_t{32} << 20;
  s.cache.window = 16;
  s.metrics.enabled = false;
  return s;
}

template <class T>
T one_of(std::mt19937_64& rng, std::initializer_list<T> list) {
  return list.begin()[rng() % list.size()];
}

inline config::settings random_settings(std::mt19937_64& rng, dtype stored) {
  auto s = small_settings();
  s.runtime.lanes = one_of(rng, {1U, 2U, 3U});
  s.runtime.actor_threads = one_of(rng, {1U, 2U});
  s.devices.count = one_of(rng, {1U, 2U, 4U});
  s.cache.page_tokens = one_of(rng, {8U, 16U, 32U, 64U});
  s.cache.stored = stored;
  s.cache.sinks = static_cast<std::uint32_t>(rng() % 9);
  s.cache.window = s.cache.page_tokens + static_cast<std::uint32_t>(rng() % 40);
  if (rng() % 8 == 0)
    s.cache.window = 100'000;
  s.cache.shards = one_of(rng, {1U, 3U, 16U});
  return s;
}

inline model_shape random_shape(std::mt19937_64& rng, std::uint32_t experts = 0) {
  const auto kv_heads = one_of(rng, {1U, 2U, 3U});
  return {one_of(rng, {1U, 2U}), kv_heads * one_of(rng, {1U, 2U, 4U, 8U}), kv_heads,
          one_of(rng, {32U, 64U, 128U}), experts};
}

/// A policy with options.
inline policy_choice
choose(const char* name, std::initializer_list<std::pair<const char*, option_value>> options = {}) {
  policy_choice c{name, {}};
  for (const auto& [key, value] : options)
    c.options.set(key, value);
  return c;
}

} // namespace pikv::test
