// SPDX-License-Identifier: Apache-2.0
/// \file
/// Random valid settings, drawn from the schema and the catalog themselves.
#pragma once

#include <algorithm>
#include <cmath>
#include <iterator>
#include <random>

#include <pikv/config/schema.hpp>
#include <pikv/config/value_text.hpp>

#include "support.hpp"

namespace pikv::config::testing {

using generator = std::mt19937_64;

inline option_value random_value(const option_spec& spec, generator& random) {
  const auto pick = [&](const auto& list) { return list[random() % list.size()]; };
  if (spec.type == option_type::boolean)
    return random() % 2 == 0;
  if (spec.type == option_type::text)
    return spec.choices.empty() ? pick(std::vector<std::string>{"0.0.0.0", "::1", "localhost",
                                                                "null", "a-b.example", "1.5", "-"})
                                : pick(spec.choices);
  if (!spec.choices.empty())
    return std::int64_t{std::stoll(pick(spec.choices))};
  // Mostly small distances from the lower bound, and now and then either bound itself.
  const double low = *spec.min;
  const double high = *spec.max;
  const double unit = std::uniform_real_distribution<double>()(random);
  const auto kind = random() % 8;
  const double x = kind == 0 ? low : kind == 1 ? high : low + (high - low) * std::pow(unit, 8);
  if (spec.type == option_type::real)
    return std::clamp(x, low, high);
  return static_cast<std::int64_t>(x);
}

/// For ghosts.policies, the one list of names.
inline option_value random_names(generator& random) {
  static const std::string lists[] = {"", "lru", "h2o, lru_plus", "quest, lfu, streaming"};
  return lists[random() % std::size(lists)];
}

inline settings random_settings(generator& random) {
  settings x;
  for (const auto& part : sections()) {
    for (const auto& key : part.keys)
      if (random() % 2 == 0)
        key.set(x, key.list ? random_names(random) : random_value(key.spec, random));
    if (part.policy == nullptr)
      continue;
    const auto& kind = *find_kind(all_policies(), part.name);
    std::vector<policy_info> live;
    std::ranges::copy_if(kind.policies, std::back_inserter(live),
                         [](const policy_info& p) { return p.offline.empty(); });
    const auto& policy = live[random() % live.size()];
    auto& choice = x.*part.policy = {policy.name, {}};
    for (const auto& spec : policy.options) {
      const auto value = random_value(spec, random);
      if (random() % 2 == 0 && !same_value(value, spec.fallback))
        choice.options.set(spec.name, value);
    }
  }
  x.cache.window = std::max(x.cache.window, x.cache.page_tokens);
  if (x.transfer.path == move_path::nccl)
    x.devices.backend = "cuda";
  if (x.fidelity.coverage_target > 0 || x.fidelity.max_output_error > 0)
    x.fidelity.audit_share = std::max(x.fidelity.audit_share, 1e-6);
  return x;
}

} // namespace pikv::config::testing
