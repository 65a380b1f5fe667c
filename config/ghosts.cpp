// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <fmt/format.h>

#include <pikv/config/schema.hpp>
#include <pikv/config/value_text.hpp>
#include <pikv/messages/nearest_name.hpp>

namespace pikv::config {

namespace {

constexpr std::size_t most_ghosts = 8;

std::optional<std::string> fault_of(const std::string& name, const policy_kind_info& kind) {
  const auto* policy = find_policy(kind, name);
  const auto known = policy_names(kind);
  if (policy == nullptr)
    return fmt::format("{} is not a scheduling policy; did you mean \"{}\"? Allowed: {}",
                       clipped(name), nearest_name(name, known),
                       fmt::join(live_policy_names(kind), ", "));
  if (!policy->offline.empty())
    return fmt::format("\"{}\" cannot run live: {}", name, policy->offline);
  return {};
}

} // namespace

std::vector<std::string> ghost_names(const ghost_settings& x) {
  std::vector<std::string> names;
  std::string_view rest{x.policies};
  while (!rest.empty()) {
    const auto end = rest.find(',');
    auto name = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    const auto first = name.find_first_not_of(' ');
    name = first == std::string_view::npos ? std::string_view{} : name.substr(first);
    name = name.substr(0, name.find_last_not_of(' ') + 1);
    if (!name.empty())
      names.emplace_back(name);
  }
  return names;
}

std::optional<conflict> find_ghost_fault(const settings& x, const policy_catalog& catalog) {
  const auto names = ghost_names(x.ghosts);
  const auto refuse = [](std::string what) {
    return conflict{{"ghosts.policies"}, std::move(what)};
  };
  const auto* kind = find_kind(catalog, "scheduling");
  if (names.empty())
    return {};
  if (kind == nullptr)
    return refuse("this build has no scheduling policies");
  if (names.size() > most_ghosts)
    return refuse(fmt::format("{} policies; allowed: at most {}", names.size(), most_ghosts));
  for (auto i = names.begin(); i != names.end(); ++i) {
    if (auto fault = fault_of(*i, *kind))
      return refuse(*fault);
    if (std::find(names.begin(), i, *i) != i)
      return refuse(fmt::format("\"{}\" is there twice", *i));
  }
  return {};
}

} // namespace pikv::config
