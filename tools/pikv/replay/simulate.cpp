// SPDX-License-Identifier: Apache-2.0
#include "simulate.hpp"

#include <algorithm>
#include <ctime>
#include <deque>

#include <pikv/policies/scheduling/page_uses.hpp>

#include "utility_heap.hpp"

namespace pikv::tools {

namespace {

using policies::page_record;

class simulation {
public:
  simulation(const trace& x, std::span<const std::uint64_t> next,
             const policies::scheduling_policy& policy, std::uint64_t capacity,
             std::uint64_t history)
      : trace_(x), next_(next), policy_(policy), capacity_(capacity), history_(history),
        ordered_(!policy.ages()), blocks_(x.blocks), ever_(x.blocks),
        heap_(ordered_ ? x.blocks : 0) {}

  void request(std::size_t i) {
    now_ = i + 1; // tick 0 is before the first request
    count(i);
    for (auto k = trace_.begin[i]; k < trace_.begin[i + 1]; ++k)
      use(i, k);
    ordered_ ? evict_first() : evict_lowest();
  }

  replay_result out;

private:
  enum class state : std::uint8_t { unknown, kept, remembered };
  struct block_state {
    page_record record;
    std::uint64_t dropped_as = 0; ///< number of the eviction, while remembered
    state where = state::unknown;
  };

  void count(std::size_t i) {
    bool whole = true;
    std::uint64_t settling = 0;
    for (const auto block : trace_.request(i)) {
      const auto where = blocks_[block].where;
      const bool hit = where == state::kept;
      out.evicted_then_wanted += !hit && ever_[block] ? 1U : 0U;
      whole = whole && hit;
      ++out.uses;
      out.kept += hit ? 1U : 0U;
      out.hits += (trace_.prefix ? whole : hit) ? 1U : 0U;
      settling += hit ? 0U : 1U;
    }
    uses_.tick(settling, capacity_);
  }

  void use(std::size_t i, std::uint64_t k) {
    auto& b = blocks_[trace_.block[k]];
    auto& r = b.record;
    const bool first = b.where == state::unknown;
    const bool last = k + 1 == trace_.begin[i + 1];
    r.first_position = trace_.position[k] * trace_.block_tokens;
    r.tokens = last ? trace_.last_tokens[i] : trace_.block_tokens;
    // What is not full is the end of a prompt or still being written: classes of their own.
    const auto tag =
        static_cast<std::uint16_t>(2 * trace_.tag[i] + (r.tokens < trace_.block_tokens));
    if (first) {
      r.tag = tag;
      if (!trace_.keys.empty())
        r.keys = trace_.keys[trace_.block[k]];
      uses_.settled(r, now_);
    } else {
      uses_.read(r, now_, tag);
    }
    if (!trace_.mass.empty()) {
      r.last_mass = trace_.mass[k];
      r.mass += r.last_mass;
    }
    if (!trace_.expected.empty())
      r.expected_mass = trace_.expected[k];
    r.next_use = next_[k] == page_record::never ? next_[k] : next_[k] + 1;
    if (b.where != state::kept && !ordered_)
      list_.push_back(trace_.block[k]);
    b.where = state::kept;
    ever_[trace_.block[k]] = true;
    if (ordered_)
      heap_.set(rank_of(trace_.block[k], r));
  }

  rank rank_of(std::uint32_t block, const page_record& r) const {
    const policies::schedule_context context{now_, r.first_position, 0};
    return {policy_.utility(r, context), trace_.prefix ? ~r.first_position : r.first_position,
            block};
  }

  void evict_first() {
    while (heap_.size() > capacity_)
      drop(heap_.pop());
  }

  /// All at once: the utilities of everything that is kept are compared once a request.
  void evict_lowest() {
    if (list_.size() <= capacity_)
      return;
    ranks_.clear();
    for (const auto block : list_) {
      auto r = blocks_[block].record;
      r.queries = now_ - r.settled_at;
      if (r.last_read_at != now_)
        r.last_mass = 0; // the last request did not attend to it
      ranks_.push_back(rank_of(block, r));
    }
    const auto over = static_cast<std::ptrdiff_t>(list_.size() - capacity_);
    std::nth_element(ranks_.begin(), ranks_.begin() + over, ranks_.end());
    std::sort(ranks_.begin(), ranks_.begin() + over); // the order in which history is forgotten
    list_.clear();
    for (auto i = ranks_.begin(); i != ranks_.end(); ++i)
      i - ranks_.begin() < over ? drop(i->block) : list_.push_back(i->block);
  }

  void drop(std::uint32_t block) {
    auto& b = blocks_[block];
    b.where = state::remembered;
    b.dropped_as = ++out.evicted;
    dropped_.emplace_back(block, b.dropped_as);
    if (dropped_.size() <= history_)
      return;
    const auto [oldest, number] = dropped_.front();
    dropped_.pop_front();
    auto& old = blocks_[oldest];
    if (old.where == state::remembered && old.dropped_as == number)
      old = {};
  }

  const trace& trace_;
  std::span<const std::uint64_t> next_;
  const policies::scheduling_policy& policy_;
  std::uint64_t capacity_, history_;
  bool ordered_;
  std::uint64_t now_ = 0;
  policies::page_uses uses_;
  std::vector<block_state> blocks_;
  std::vector<bool> ever_; ///< the block has been there
  utility_heap heap_;
  std::vector<std::uint32_t> list_; ///< kept blocks, where there is no heap
  std::vector<rank> ranks_;
  std::deque<std::pair<std::uint32_t, std::uint64_t>> dropped_; ///< (block, dropped_as)
};

/// Of this thread: a busy machine does not count.
double cpu_seconds() noexcept {
  timespec x{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &x);
  return static_cast<double>(x.tv_sec) + 1e-9 * static_cast<double>(x.tv_nsec);
}

} // namespace

replay_result replay(const trace& x, std::span<const std::uint64_t> next,
                     const policies::scheduling_policy& policy, std::uint64_t capacity,
                     std::uint64_t history) {
  simulation s{x, next, policy, capacity, history};
  const auto begin = cpu_seconds();
  for (std::size_t i = 0; i < x.requests(); ++i)
    s.request(i);
  s.out.seconds = cpu_seconds() - begin;
  return s.out;
}

std::string missing(const trace& x, const std::string& name,
                    const policies::scheduling_policy& policy) {
  if (policy.needs_mass() && x.mass.empty())
    return "the trace has no attention masses";
  if (policy.needs_keys() != 0 && x.keys.empty())
    return "the trace says nothing of keys";
  if (name == "expected_attention" && x.expected.empty())
    return "the trace has no expected attention";
  if (name == "snap")
    return "a trace does not say where prompts end";
  return {};
}

} // namespace pikv::tools
