// SPDX-License-Identifier: Apache-2.0
/// \file
/// An engine that works while actors die: it appends, annotates and attends, knows what it
/// appended, and checks every answer against float64. One thread per client.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <pikv/actors/cache.hpp>
#include <pikv/config/settings.hpp>
#include <pikv/messages/kinds.hpp>

namespace pikv::test {

using steady = std::chrono::steady_clock;
using namespace std::chrono_literals;

inline constexpr model_shape fault_shape{2, 4, 2, 32, 4};
inline constexpr float canary = -12345.75F;

/// Small pages and a small window, so that short sequences settle pages everywhere.
inline config::settings fault_settings() {
  config::settings s;
  s.devices.threads = 1;
  s.devices.memory_bytes = std::uint64_t{8} << 20;
  s.devices.scratch_bytes = std::uint64_t{16} << 20;
  s.cache.page_tokens = 8;
  s.cache.stored = dtype::f32;
  s.cache.sinks = 2;
  s.cache.window = 16;
  s.cache.shards = 4;
  s.limits.deadline = 10s;
  s.metrics.enabled = false;
  return s;
}

/// Waits at most `limit`; null when the request has not ended by then.
template <class T>
const result<T>* wait_at_most(const completion<T>& c, steady::duration limit) {
  struct latch {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
  };
  auto l = std::make_shared<latch>();
  c.then([l](const result<T>&) {
    std::lock_guard guard{l->mutex};
    l->done = true;
    l->changed.notify_all();
  });
  std::unique_lock lock{l->mutex};
  return l->changed.wait_for(lock, limit, [&] { return l->done; }) ? &c.wait() : nullptr;
}

/// Polls `f` until it is true or `limit` has passed; returns its last value.
template <class Predicate>
bool eventually(Predicate&& f, steady::duration limit) {
  const auto until = steady::now() + limit;
  while (!f()) {
    if (steady::now() > until)
      return false;
    std::this_thread::sleep_for(200us);
  }
  return true;
}

/// Outcomes by kind of request and error.
struct tally {
  static constexpr std::size_t kinds = 9, codes = 32;
  std::array<std::array<std::atomic<std::uint64_t>, codes>, kinds> counts{};
  std::atomic<std::uint64_t> partly{0}; ///< successful attends that missed evicted or lost entries
  std::atomic<std::uint64_t> slowest_us{0};

  void add(request_kind kind, errc code, steady::duration took) {
    ++counts[static_cast<std::size_t>(kind)][static_cast<std::size_t>(code)];
    const auto us = static_cast<std::uint64_t>(took / 1us);
    for (auto seen = slowest_us.load(); us > seen && !slowest_us.compare_exchange_weak(seen, us);) {
    }
  }
  std::uint64_t of(request_kind kind, errc code) const {
    return counts[static_cast<std::size_t>(kind)][static_cast<std::size_t>(code)];
  }
  std::uint64_t of(errc code) const {
    std::uint64_t n = 0;
    for (const auto& x : counts)
      n += x[static_cast<std::size_t>(code)];
    return n;
  }
  std::string text() const {
    std::string out;
    for (std::size_t k = 0; k < kinds; ++k)
      for (std::size_t c = 0; c < codes; ++c)
        if (auto n = counts[k][c].load(); n > 0)
          out += std::string{to_string(request_kind(k))} + "/" + std::string{to_string(errc(c))}
                 + " " + std::to_string(n) + ", ";
    return out + "partly " + std::to_string(partly) + ", slowest " + std::to_string(slowest_us)
           + " us";
  }
};

/// What a client appended to one sequence: K and V `[tokens, kv_heads, head_dim]` by layer.
struct sequence_copy {
  sequence_id id{};
  bool open = false;
  bool lost = false; ///< an attend said entries_lost: read on with allow_lost
  std::uint32_t tokens = 0;
  std::array<std::vector<float>, fault_shape.layers> k, v;
};

/// One row of K or V: the channels of (token, KV head).
inline std::span<const float> row_of(const std::vector<float>& x, std::size_t token,
                                     std::size_t head) {
  return std::span{x}.subspan((token * fault_shape.kv_heads + head) * fault_shape.head_dim,
                              fault_shape.head_dim);
}

/// Attention of one query over the entries that are certainly there: all, or sinks and window.
struct dense_head {
  std::vector<double> out;
  double uncertain = 0; ///< mass of the other entries, relative to that of the certain ones
};

template <class Certain>
dense_head attend_dense(const sequence_copy& s, std::size_t layer, std::span<const float> q,
                        std::uint32_t position, std::size_t kv_head, Certain&& certain) {
  std::vector<double> logits(position + 1);
  for (std::uint32_t t = 0; t <= position; ++t) {
    auto k = row_of(s.k[layer], t, kv_head);
    for (std::size_t c = 0; c < q.size(); ++c)
      logits[t] += static_cast<double>(q[c]) * static_cast<double>(k[c]);
    logits[t] /= std::sqrt(static_cast<double>(q.size()));
  }
  const auto top = *std::ranges::max_element(logits);
  dense_head r{std::vector<double>(q.size()), 0};
  double sum = 0;
  for (std::uint32_t t = 0; t <= position; ++t) {
    const auto w = std::exp(logits[t] - top);
    if (!certain(t)) {
      r.uncertain += w;
      continue;
    }
    sum += w;
    auto v = row_of(s.v[layer], t, kv_head);
    for (std::size_t c = 0; c < q.size(); ++c)
      r.out[c] += w * static_cast<double>(v[c]);
  }
  for (auto& x : r.out)
    x /= sum;
  r.uncertain /= sum;
  return r;
}

} // namespace pikv::test
