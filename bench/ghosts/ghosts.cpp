// SPDX-License-Identifier: Apache-2.0
// What ghosts cost an attend on the host backend: one running cache whose ghosts are switched on
// and off by reloads, in pairs of blocks of attends, so that both halves of a pair see the same
// machine. Prints the medians of the pairs' ratios with their median absolute deviations, of the wall
// time and of the process's CPU time, which other work on the machine disturbs less.
//
//   ghosts [PAGES [ATTENDS [PAIRS]]]      defaults: 1024 pages, 100 attends a block, 21 pairs
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <pikv/actors/runtime.hpp>

#include "../must.hpp"

namespace {

using namespace pikv;
using bench::must;

constexpr model_shape shape{1, 32, 8, 128, 0};

struct sizes {
  std::uint32_t pages = 1024, attends = 100, pairs = 21;
};

/// Wall and CPU time in seconds.
struct cost {
  double wall = 0, cpu = 0;
};

double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

class workload {
public:
  workload(runtime& r, std::uint32_t tokens) : cache_(must(r.open(shape))), tokens_(tokens) {
    sequence_ = must(cache_.open());
    std::mt19937 rng(1);
    std::normal_distribution<float> normal;
    constexpr std::uint32_t chunk = 512;
    std::vector<float> kv(std::size_t{chunk} * shape.kv_heads * shape.head_dim);
    for (std::uint32_t at = 0; at < tokens; at += chunk) {
      for (auto& x : kv)
        x = normal(rng);
      const auto n = std::min(chunk, tokens - at);
      const std::vector<batch_part> part{{sequence_, at, n}};
      const auto x = nhd(std::as_const(kv), n, shape.kv_heads, shape.head_dim);
      must(cache_.append(0, part, x, x).wait());
    }
    q_.resize(std::size_t{shape.query_heads} * shape.head_dim);
    out_ = q_;
    for (auto& x : q_)
      x = normal(rng);
  }

  /// Of `n` attends of one row, one after the other.
  cost run(std::uint32_t n) {
    const auto begin = std::chrono::steady_clock::now();
    const auto cpu = cpu_seconds();
    const std::vector<batch_part> part{{sequence_, tokens_ - 1, 1}};
    for (std::uint32_t i = 0; i < n; ++i)
      must(cache_
               .attend(0, part, nhd(std::as_const(q_), 1, shape.query_heads, shape.head_dim),
                       nhd(out_, 1, shape.query_heads, shape.head_dim))
               .wait());
    return {std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(),
            cpu_seconds() - cpu};
  }

private:
  cache cache_;
  sequence_id sequence_{};
  std::uint32_t tokens_;
  std::vector<float> q_, out_;
};

double median(std::vector<double> x) {
  std::ranges::sort(x);
  return x[x.size() / 2];
}

double deviation(std::vector<double> x) {
  const auto middle = median(x);
  for (auto& v : x)
    v = std::abs(v - middle);
  return median(std::move(x));
}

void compare(const std::string& live, const std::string& ghosts, const sizes& n) {
  config::settings s;
  s.metrics.enabled = false;
  s.runtime.latency = config::latency_profile::idle; // no CPU time for looking out
  s.selection = {"mass", {}};
  s.scheduling = {live, {}};
  s.devices.memory_bytes = std::uint64_t{4} << 30;
  auto r = must(runtime::start(s));
  workload w{r, n.pages * s.cache.page_tokens};
  std::vector<double> wall, cpu, off_us;
  for (std::uint32_t pair = 0; pair <= n.pairs; ++pair) {
    cost x[2];
    for (const bool with : {pair % 2 == 0, pair % 2 != 0}) { // the order alternates
      s.ghosts.policies = with ? ghosts : "";
      must(r.reload(s).wait());
      w.run(n.attends / 10 + 1); // the scheduler takes them up or lets them go
      x[with] = w.run(n.attends);
    }
    if (pair == 0)
      continue; // warm-up
    wall.push_back(x[1].wall / x[0].wall);
    cpu.push_back(x[1].cpu / x[0].cpu);
    off_us.push_back(x[0].cpu / n.attends * 1e6);
  }
  fmt::print("live {:8} ghosts {:24} {:8.1f} us CPU an attend; with ghosts: wall {:+.2f}% (MAD "
             "{:.2f}%), CPU {:+.2f}% (MAD {:.2f}%)\n",
             live, ghosts, median(off_us), 100 * (median(wall) - 1), 100 * deviation(wall),
             100 * (median(cpu) - 1), 100 * deviation(cpu));
}

} // namespace

int main(int argc, char** argv) {
  sizes n;
  std::uint32_t* const given[] = {&n.pages, &n.attends, &n.pairs};
  for (int i = 1; i < argc && i <= 3; ++i)
    *given[i - 1] = static_cast<std::uint32_t>(std::max(1, std::atoi(argv[i])));
  compare("lru", "lru, lru_plus, lfu", n);
  compare("h2o", "lru, h2o, quest", n);
  compare("lru", "lru, h2o, quest", n); // with the masses that h2o asks for
  return 0;
}
