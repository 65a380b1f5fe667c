// SPDX-License-Identifier: Apache-2.0
#include "study.hpp"

#include <algorithm>
#include <limits>

namespace pikv::tools {

namespace {

constexpr auto unlimited = std::numeric_limits<std::uint64_t>::max();

std::uint64_t history_of(std::uint64_t capacity, double factor) {
  return static_cast<std::uint64_t>(static_cast<double>(capacity) * factor);
}

const study_row* find_row(const study& x, std::string_view policy, std::uint64_t capacity) {
  for (const auto& row : x.rows)
    if (row.policy == policy && row.capacity == capacity)
      return &row;
  return nullptr;
}

class runner {
public:
  runner(const trace& x, const study_options& options)
      : trace_(x), options_(options), next_(next_uses(x)) {}

  result<study> run() {
    std::vector<std::string> known;
    for (const auto& entry : policies::scheduling_table())
      known.push_back(entry.info.name);
    for (const auto& name : options_.policies)
      if (std::ranges::find(known, name) == known.end())
        return policies::unknown_policy(name, known);
    describe();
    for (const auto& name : known)
      if (wanted(name))
        if (auto r = add(name); !r)
          return r.error();
    if (auto r = compare(); !r)
      return r.error();
    return std::move(out_);
  }

private:
  bool wanted(const std::string& name) const {
    const auto& list = options_.policies;
    return list.empty() || std::ranges::find(list, name) != list.end();
  }

  void describe() {
    out_.name = trace_.name;
    out_.requests = trace_.requests();
    out_.uses = trace_.uses();
    out_.blocks = trace_.blocks;
    out_.prefix = trace_.prefix;
    out_.reuse = reuse_distances(trace_);
    out_.capacities = options_.capacities;
    if (out_.capacities.empty())
      for (std::uint64_t part = 32; part > 1; part /= 2)
        out_.capacities.push_back(std::max<std::uint64_t>(1, trace_.blocks / part));
  }

  result<std::unique_ptr<policies::scheduling_policy>> make(const std::string& name) const {
    policies::policy_context context;
    context.page_tokens = trace_.block_tokens;
    return policies::make(policies::scheduling_table(), {name, {}}, context);
  }

  result<void> add(const std::string& name) {
    auto policy = make(name);
    if (!policy)
      return policy.error();
    if (auto why = missing(trace_, name, **policy); !why.empty()) {
      out_.skipped.push_back({name, std::move(why)});
      return {};
    }
    for (const auto capacity : out_.capacities)
      out_.rows.push_back(
          {name,
           capacity,
           replay(trace_, next_, **policy, capacity, history_of(capacity, options_.history)),
           {}});
    return {};
  }

  /// The yardsticks are run even where they are not asked for.
  result<double> hits_of(const std::string& name, std::uint64_t capacity) const {
    if (const auto* row = find_row(out_, name, capacity))
      return row->result.hit_share();
    auto policy = make(name);
    if (!policy)
      return policy.error();
    return replay(trace_, next_, **policy, capacity, history_of(capacity, options_.history))
        .hit_share();
  }

  result<void> compare() {
    auto lru = make("lru");
    if (!lru)
      return lru.error();
    out_.infinite = replay(trace_, next_, **lru, unlimited, 0);
    for (const auto capacity : out_.capacities) {
      const auto low = hits_of("lru", capacity), high = hits_of("belady", capacity);
      if (!low || !high)
        return low ? high.error() : low.error();
      for (auto& row : out_.rows)
        if (row.capacity == capacity && *high > *low)
          row.gap_closed = (row.result.hit_share() - *low) / (*high - *low);
    }
    return {};
  }

  const trace& trace_;
  const study_options& options_;
  std::vector<std::uint64_t> next_;
  study out_;
};

} // namespace

result<study> run_study(const trace& x, const study_options& options) {
  return runner{x, options}.run();
}

} // namespace pikv::tools
