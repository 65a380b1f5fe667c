// SPDX-License-Identifier: Apache-2.0
#include <pikv/config/config.hpp>

#include <algorithm>
#include <exception>
#include <map>
#include <set>

#include <fmt/format.h>

#include <pikv/config/schema.hpp>
#include <pikv/config/value_text.hpp>
#include <pikv/config/yaml_tree.hpp>

namespace pikv::config {

namespace {

class reader {
public:
  reader(const policy_catalog& catalog, std::string_view file) : catalog_(catalog), file_(file) {}

  result<settings> read(const yaml_node& root) {
    if (root.kind != node_kind::map && root.kind != node_kind::none)
      return fault(
          errc::config_value, root, "(file)",
          fmt::format("{} stands where sections are expected, such as \"cache:\"", describe(root)));
    if (auto r = check_keys(root, "", section_names()); !r)
      return r.error();
    for (const auto& x : sections())
      if (const auto* entry = find(root, x.name))
        if (auto r = read_section(x, *entry); !r)
          return r.error();
    for (const auto& c : {find_conflict(out_), find_ghost_fault(out_, catalog_)})
      if (c)
        return fault_at(errc::config_value, position_of(*c), c->keys.front(), c->what);
    return std::move(out_);
  }

private:
  error fault_at(errc code, position where, std::string_view key, std::string_view what) const {
    return {code, fmt::format("{}: {}: {}", to_string(file_, where), key, what)};
  }
  error fault(errc code, const yaml_node& at, std::string_view key, std::string_view what) const {
    return fault_at(code, at.where, key, what);
  }

  static std::string describe(const yaml_node& x) {
    switch (x.kind) {
    case node_kind::none: return "nothing";
    case node_kind::scalar: return clipped(x.text);
    case node_kind::map: return "a map";
    case node_kind::sequence: return "a list";
    }
    return "nothing";
  }

  static const yaml_entry* find(const yaml_node& map, std::string_view key) {
    const auto found = std::ranges::find(
        map.entries, key, [](const yaml_entry& x) { return std::string_view{x.key.text}; });
    return found == map.entries.end() ? nullptr : &*found;
  }

  static std::vector<std::string> section_names() {
    std::vector<std::string> names;
    for (const auto& x : sections())
      names.push_back(x.name);
    return names;
  }

  // The dotted key, where another section has one of this name.
  static std::string elsewhere(std::string_view key) {
    for (const auto& x : sections())
      for (const auto& entry : x.keys)
        if (x.leaf(entry) == key)
          return fmt::format("; did you mean \"{}\"?", entry.spec.name);
    return {};
  }

  // Every key is a name, known, and there once.
  result<void> check_keys(const yaml_node& map, const std::string& prefix,
                          const std::vector<std::string>& known) const {
    std::set<std::string_view> seen;
    for (const auto& [key, value] : map.entries) {
      if (key.kind != node_kind::scalar)
        return fault(errc::config_key, key, prefix.empty() ? "(file)" : prefix,
                     fmt::format("{} is not a key", describe(key)));
      const auto name = prefix.empty() ? key.text : prefix + "." + key.text;
      const auto shown = key.text.size() <= 60 ? name : prefix + clipped(key.text);
      if (std::ranges::find(known, key.text) == known.end()) {
        auto hint = elsewhere(key.text);
        if (hint.empty())
          hint = suggestion(key.text, known);
        return fault(
            errc::config_key, key, shown,
            fmt::format("there is no such key{} Allowed: {}", hint,
                        known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", "))));
      }
      if (!seen.insert(key.text).second)
        return fault(errc::config_key, key, shown,
                     fmt::format("the key is there twice; first at line {}",
                                 find(map, key.text)->key.where.line));
    }
    return {};
  }

  result<void> read_section(const section& x, const yaml_entry& entry) {
    if (entry.value.kind == node_kind::none)
      return {};
    if (entry.value.kind != node_kind::map)
      return fault(errc::config_value, entry.value, x.name,
                   fmt::format("{} stands where keys are expected, such as \"{}:\"",
                               describe(entry.value),
                               x.policy != nullptr ? "policy" : x.leaf(x.keys.front())));
    if (x.policy != nullptr)
      return read_policy(x, entry.value);
    std::vector<std::string> known;
    for (const auto& key : x.keys)
      known.emplace_back(x.leaf(key));
    if (auto r = check_keys(entry.value, x.name, known); !r)
      return r;
    for (const auto& key : x.keys) {
      const auto* given = find(entry.value, x.leaf(key));
      if (given == nullptr)
        continue;
      auto value = key.list && given->value.kind == node_kind::sequence
                       ? read_list(key.spec, given->value)
                       : read_scalar(key.spec, given->value);
      if (!value)
        return value.error();
      key.set(out_, *value);
    }
    return {};
  }

  result<option_value> read_list(const option_spec& spec, const yaml_node& node) {
    std::string text;
    for (const auto& item : node.items) {
      if (item.kind != node_kind::scalar)
        return fault(errc::config_value, item, spec.name,
                     fmt::format("{} stands where a name is expected", describe(item)));
      text += (text.empty() ? "" : ", ") + item.text;
    }
    values_[spec.name] = node.where;
    return option_value{text};
  }

  result<option_value> read_scalar(const option_spec& spec, const yaml_node& node) {
    if (node.kind != node_kind::scalar)
      return fault(errc::config_value, node, spec.name,
                   fmt::format("{} stands where a value is expected; allowed: {}", describe(node),
                               allowed_values(spec)));
    values_[spec.name] = node.where;
    auto value = read_value(spec, node.text);
    if (!value)
      return fault(value.code(), node, spec.name, value.error().what);
    return value;
  }

  result<void> read_policy(const section& x, const yaml_node& node) {
    const auto* kind = find_kind(catalog_, x.name);
    if (kind == nullptr)
      return fault(errc::config_value, node, x.name, "this build has no policies of this kind");
    auto& choice = out_.*x.policy;
    if (const auto* given = find(node, "policy")) {
      option_spec spec{x.name + ".policy", option_type::text, choice.name, "", {}, {},
                       policy_names(*kind)};
      auto name = read_scalar(spec, given->value);
      if (!name)
        return name.error();
      choice.name = std::get<std::string>(*name);
    }
    const auto* policy = find_policy(*kind, choice.name);
    if (policy == nullptr)
      return fault(errc::config_value, node, x.name + ".policy",
                   fmt::format("{} is not allowed; allowed: {}", clipped(choice.name),
                               fmt::join(live_policy_names(*kind), ", ")));
    if (const auto* given = find(node, "policy"); !policy->offline.empty())
      return fault(errc::config_value, given != nullptr ? given->value : node, x.name + ".policy",
                   fmt::format("\"{}\" cannot run live: {}", choice.name, policy->offline));
    return read_options(x, *kind, *policy, node);
  }

  result<void> read_options(const section& x, const policy_kind_info& kind,
                            const policy_info& policy, const yaml_node& node) {
    std::vector<std::string> known{"policy"};
    for (const auto& spec : policy.options)
      known.push_back(spec.name);
    if (auto e = foreign_option(x, kind, policy, node, known))
      return *e;
    if (auto r = check_keys(node, x.name, known); !r)
      return r;
    for (const auto& spec : policy.options) {
      const auto* given = find(node, spec.name);
      if (given == nullptr)
        continue;
      auto value = read_scalar(dotted(x, spec), given->value);
      if (!value)
        return value.error();
      if (!same_value(*value, spec.fallback))
        (out_.*x.policy).options.set(spec.name, *value);
    }
    return {};
  }

  // A better message for `selection: {share: 0.25}`, whose policy is the default one.
  std::optional<error> foreign_option(const section& x, const policy_kind_info& kind,
                                      const policy_info& policy, const yaml_node& node,
                                      const std::vector<std::string>& known) const {
    for (const auto& [key, value] : node.entries) {
      if (key.kind != node_kind::scalar || std::ranges::find(known, key.text) != known.end())
        continue;
      std::vector<std::string> owners;
      for (const auto& other : kind.policies)
        if (std::ranges::find(other.options, key.text, &option_spec::name) != other.options.end())
          owners.push_back(other.name);
      if (!owners.empty())
        return fault(errc::config_key, key, fmt::format("{}.{}", x.name, key.text),
                     fmt::format("policy \"{}\" has no such option; {}.policy may be one of those "
                                 "that have it: {}",
                                 policy.name, x.name, fmt::join(owners, ", ")));
    }
    return {};
  }

  position position_of(const conflict& c) const {
    for (const auto& key : c.keys)
      if (const auto found = values_.find(key); found != values_.end())
        return found->second;
    return {};
  }

  const policy_catalog& catalog_;
  std::string_view file_;
  settings out_;
  std::map<std::string, position, std::less<>> values_; // where each given value stands
};

} // namespace

result<settings> parse(std::string_view text, const policy_catalog& catalog,
                       std::string_view file) {
  try {
    auto root = read_yaml(text, file);
    if (!root)
      return root.error();
    return reader(catalog, file).read(*root);
  } catch (const std::exception& e) {
    return {errc::internal, fmt::format("{}: {}", file, e.what())};
  }
}

} // namespace pikv::config
