// SPDX-License-Identifier: Apache-2.0
/// \file
/// Small random traces, and a replay by the definition: everything that is kept is compared at
/// every eviction, in sorted lists.
#pragma once

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include <pikv/policies/scheduling/page_uses.hpp>

#include "simulate.hpp"

namespace pikv::tools {

/// Requests over a few blocks; prefix traces are walks down a tree, so that a block has one
/// position.
inline trace random_trace(std::mt19937_64& rng, bool prefix, bool facts) {
  trace x;
  x.name = "random";
  x.prefix = prefix;
  x.blocks = prefix ? 121 : 40; // prefix: a tree of three children a node
  const auto requests = 20 + rng() % 120;
  for (std::size_t i = 0; i < requests; ++i) {
    std::vector<std::uint32_t> list;
    if (prefix) {
      std::uint32_t node = static_cast<std::uint32_t>(rng() % 3);
      for (const auto depth = 1 + rng() % 4; list.size() < depth && node < x.blocks;)
        list.push_back(std::exchange(node, 3 * node + 3 + static_cast<std::uint32_t>(rng() % 3)));
    } else {
      for (std::uint32_t b = 0; b < x.blocks; ++b)
        if (rng() % 12 == 0)
          list.push_back(b);
    }
    for (std::uint32_t k = 0; k < list.size(); ++k) {
      x.block.push_back(list[k]);
      x.position.push_back(prefix ? k : list[k] % 7);
      if (facts) {
        x.mass.push_back(static_cast<double>(rng() % 1000) / 1000);
        x.expected.push_back(static_cast<double>(rng() % 1000) / 1000);
      }
    }
    x.begin.push_back(x.block.size());
    x.tag.push_back(static_cast<std::uint16_t>(rng() % 4));
    x.last_tokens.push_back(1 + static_cast<std::uint32_t>(rng() % 16));
  }
  for (std::uint32_t b = 0; facts && b < x.blocks; ++b)
    x.keys.push_back({key_fact_norm | key_fact_likeness | key_fact_reach,
                      static_cast<float>(rng() % 100), static_cast<float>(rng() % 100) / 100,
                      static_cast<float>(rng() % 100)});
  return x;
}

inline replay_result replay_plainly(const trace& x, const policies::scheduling_policy& policy,
                                    std::uint64_t capacity, std::uint64_t history) {
  using policies::page_record;
  std::map<std::uint32_t, page_record> kept;
  std::map<std::uint32_t, std::pair<page_record, std::uint64_t>> gone; // remembered, with eviction
  std::map<std::uint32_t, bool> ever;
  policies::page_uses uses;
  replay_result out;
  for (std::size_t i = 0; i < x.requests(); ++i) {
    const auto now = i + 1;
    const auto list = x.request(i);
    bool whole = true;
    std::uint64_t settling = 0;
    for (const auto b : list) {
      const bool hit = kept.contains(b);
      whole = whole && hit;
      ++out.uses;
      out.kept += hit;
      out.hits += (x.prefix ? whole : hit) ? 1U : 0U;
      out.evicted_then_wanted += !hit && ever[b];
      settling += !hit;
      ever[b] = true;
    }
    uses.tick(settling, capacity);
    for (std::size_t k = 0; k < list.size(); ++k) {
      const auto b = list[k];
      const auto at = x.begin[i] + k;
      page_record r;
      bool known = kept.contains(b);
      if (known)
        r = kept[b];
      else if (const auto g = gone.find(b); g != gone.end()) {
        r = g->second.first;
        known = true;
        gone.erase(g);
      }
      r.first_position = x.position[at] * x.block_tokens;
      r.tokens = k + 1 == list.size() ? x.last_tokens[i] : x.block_tokens;
      const auto tag = static_cast<std::uint16_t>(2 * x.tag[i] + (r.tokens < x.block_tokens));
      if (known) {
        uses.read(r, now, tag);
      } else {
        r.tag = tag;
        if (!x.keys.empty())
          r.keys = x.keys[b];
        uses.settled(r, now);
      }
      if (!x.mass.empty())
        r.mass += r.last_mass = x.mass[at];
      if (!x.expected.empty())
        r.expected_mass = x.expected[at];
      r.next_use = page_record::never;
      for (std::size_t j = i + 1; j < x.requests() && r.next_use == page_record::never; ++j)
        if (std::ranges::find(x.request(j), b) != x.request(j).end())
          r.next_use = j + 1;
      kept[b] = r;
    }
    while (kept.size() > capacity) {
      auto worst = kept.begin();
      const auto key = [&](const auto& p) {
        auto r = p.second;
        r.queries = now - r.settled_at;
        if (r.last_read_at != now)
          r.last_mass = 0;
        const auto depth = static_cast<double>(r.first_position);
        return std::tuple{policy.utility(r, {now, r.first_position, 0}), x.prefix ? -depth : depth,
                          p.first};
      };
      for (auto p = kept.begin(); p != kept.end(); ++p)
        if (key(*p) < key(*worst))
          worst = p;
      ++out.evicted;
      gone[worst->first] = {worst->second, out.evicted};
      kept.erase(worst);
      std::erase_if(gone, [&](const auto& g) { return g.second.second + history <= out.evicted; });
    }
  }
  return out;
}

} // namespace pikv::tools
