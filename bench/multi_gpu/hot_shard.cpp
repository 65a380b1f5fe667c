// SPDX-License-Identifier: Apache-2.0
// Placement eplb: queries want the shards of two experts that begin on one GPU. One of them has to
// move while queries go on.
#include <algorithm>
#include <chrono>

#include "decode_engine.hpp"
#include "must.hpp"
#include "sections.hpp"

namespace pikv::bench {

namespace {

using steady = std::chrono::steady_clock;

constexpr std::uint32_t layers = 2;
constexpr std::uint32_t experts = 16; ///< and shards: two and more on each GPU

decode_options options_of(int gpus) {
  decode_options o;
  o.shape = {layers, 32, 8, 128, experts};
  o.batch = 8;
  o.context = 8192;
  o.chunk = 1024;
  o.devices = static_cast<std::uint32_t>(gpus);
  o.actor_threads = 4;
  o.spare = 4; // gates are not even, and pages are twice there while they move
  o.step_gate.assign(experts, 0.0F);
  o.step_gate[0] = o.step_gate[static_cast<std::size_t>(gpus)] = 5.0F; // both of GPU 0's
  o.tune = [](config::settings& s) {
    s.cache.shards = experts;
    s.placement.name = "eplb";
    s.routing.name = "gate_top_k";
    s.routing.options.set("k", std::int64_t{2});
    s.limits.deadline = std::chrono::seconds{1};
  };
  return o;
}

std::vector<std::uint64_t> pages_of(decode_engine& x) {
  std::vector<std::uint64_t> pages;
  for (const auto& d : must(x.kv().usage().wait()).devices)
    pages.push_back(d.pages_settled);
  return pages;
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::abs(double{a[i]} - b[i]));
  return most;
}

} // namespace

void check_hot_shard(int gpus, report& out) {
  out.section("A hot shard moves while queries go on: 8 x 8k, 2 layers, placement eplb");
  decode_engine x{options_of(gpus)};
  x.fill();
  const auto before = pages_of(x);
  attend_report first, last;
  x.step(false);
  const auto asked = x.attend(layers - 1, first);
  double longest = 0, different = 0;
  std::uint64_t answers = 0, wrong = 0;
  for (const auto until = steady::now() + std::chrono::seconds{6}; steady::now() < until; ++answers) {
    const auto begin = steady::now();
    const auto again = x.attend(layers - 1, last); // the same query over the same entries
    longest = std::max(longest, std::chrono::duration<double>(steady::now() - begin).count());
    const double apart = difference(asked, again);
    different = std::max(different, apart);
    wrong += apart > 0x1p-7 || last.entries.read != first.entries.read ? 1 : 0;
  }
  const auto after = pages_of(x);
  std::uint64_t moved = 0;
  for (std::size_t d = 0; d < before.size(); ++d)
    moved += after[d] > before[d] ? after[d] - before[d] : 0;
  out.add("answers in 6 s", gpus, static_cast<double>(answers), "");
  out.add("pages that changed their GPU", gpus, static_cast<double>(moved), "", target{1, false});
  out.add("largest difference between answers", gpus, different, "");
  out.require_that("no wrong answer", gpus, wrong == 0);
  out.add("slowest answer; deadline 1,000 ms", gpus, 1000 * longest, "ms", target{1000});
}

} // namespace pikv::bench
