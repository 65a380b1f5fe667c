// SPDX-License-Identifier: Apache-2.0
#include <pikv/config/config.hpp>

#include <set>

#include <fmt/format.h>

#include <pikv/config/schema.hpp>
#include <pikv/config/value_text.hpp>

namespace pikv::config {

namespace {

void add_changed(const section& x, const policy_choice& a, const policy_choice& b,
                 std::vector<std::string>& out) {
  if (a.name != b.name)
    out.push_back(x.name + ".policy");
  const auto& old_values = a.options.values();
  const auto& new_values = b.options.values();
  std::set<std::string> names;
  for (const auto* values : {&old_values, &new_values})
    for (const auto& [name, value] : *values)
      names.insert(name);
  for (const auto& name : names) {
    const auto before = old_values.find(name);
    const auto after = new_values.find(name);
    if (before == old_values.end() || after == new_values.end()
        || !same_value(before->second, after->second))
      out.push_back(fmt::format("{}.{}", x.name, name));
  }
}

std::vector<std::string> changed_in(const section& x, const settings& a, const settings& b) {
  std::vector<std::string> out;
  if (x.policy != nullptr)
    add_changed(x, a.*x.policy, b.*x.policy, out);
  for (const auto& key : x.keys)
    if (!same_value(key.get(a), key.get(b)))
      out.push_back(key.spec.name);
  return out;
}

std::string shown_choice(const section& x, const policy_choice& choice, std::string_view leaf,
                         const policy_catalog& catalog) {
  if (leaf == "policy")
    return choice.name;
  const auto* kind = find_kind(catalog, x.name);
  const auto* policy = kind == nullptr ? nullptr : find_policy(*kind, choice.name);
  const auto& given = choice.options.values();
  if (policy != nullptr)
    for (const auto& spec : policy->options)
      if (spec.name == leaf) {
        const auto at = given.find(spec.name);
        return show_value(spec, at == given.end() ? spec.fallback : at->second);
      }
  return "none";
}

/// The value of a dotted key of the section.
std::string shown(const section& x, const settings& from, const std::string& key,
                  const policy_catalog& catalog) {
  if (x.policy != nullptr)
    return shown_choice(x, from.*x.policy, std::string_view{key}.substr(x.name.size() + 1),
                        catalog);
  for (const auto& entry : x.keys)
    if (entry.spec.name == key)
      return show_value(entry.spec, entry.get(from));
  return "none";
}

std::optional<std::string> find_policy_fault(const section& x, const policy_choice& choice,
                                             const policy_catalog& catalog) {
  const auto* kind = find_kind(catalog, x.name);
  if (kind == nullptr)
    return fmt::format("{}: this build has no policies of this kind", x.name);
  const option_spec name{x.name + ".policy", option_type::text, choice.name, "", {}, {},
                         policy_names(*kind)};
  if (auto fault = find_fault(name, choice.name))
    return fmt::format("{}: {}", name.name, *fault);
  const auto* policy = find_policy(*kind, choice.name);
  if (!policy->offline.empty())
    return fmt::format("{}: \"{}\" cannot run live: {}", name.name, choice.name, policy->offline);
  for (const auto& spec : policy->options) {
    const auto given = choice.options.values().find(spec.name);
    if (given == choice.options.values().end())
      continue;
    if (auto fault = find_fault(spec, given->second))
      return fmt::format("{}.{}: {}", x.name, spec.name, *fault);
  }
  if (auto r = complete(policy->options, choice.options); !r)
    return fmt::format("{}.{}", x.name, r.error().what);
  return {};
}

std::optional<std::string> find_section_fault(const section& x, const settings& given,
                                              const policy_catalog& catalog) {
  if (x.policy != nullptr)
    return find_policy_fault(x, given.*x.policy, catalog);
  for (const auto& key : x.keys)
    if (auto fault = find_fault(key.spec, key.get(given)))
      return fmt::format("{}: {}", key.spec.name, *fault);
  return {};
}

} // namespace

result<void> validate(const settings& x, const policy_catalog& catalog) {
  for (const auto& part : sections())
    if (auto fault = find_section_fault(part, x, catalog))
      return {errc::config_value, *fault};
  for (const auto& c : {find_conflict(x), find_ghost_fault(x, catalog)})
    if (c)
      return {errc::config_value, fmt::format("{}: {}", c->keys.front(), c->what)};
  return {};
}

std::vector<std::string> changed_keys(const settings& a, const settings& b) {
  std::vector<std::string> out;
  for (const auto& x : sections())
    for (auto& key : changed_in(x, a, b))
      out.push_back(std::move(key));
  return out;
}

std::vector<key_change> changes(const settings& a, const settings& b,
                                const policy_catalog& catalog) {
  std::vector<key_change> out;
  for (const auto& x : sections())
    for (auto& key : changed_in(x, a, b))
      out.push_back(
          {key, shown(x, a, key, catalog), shown(x, b, key, catalog), x.when == change::restart});
  return out;
}

result<void> check_reload(const settings& current, const settings& next) {
  std::vector<std::string> fixed;
  for (const auto& x : sections())
    if (x.when == change::restart)
      for (auto& key : changed_in(x, current, next))
        fixed.push_back(std::move(key));
  if (fixed.empty())
    return {};
  return {errc::config_restart,
          fmt::format("can only change at a restart: {}", fmt::join(fixed, ", "))};
}

} // namespace pikv::config
