// SPDX-License-Identifier: Apache-2.0
#include <pikv/config/config.hpp>

#include <iterator>

#include <fmt/format.h>

#include <pikv/config/schema.hpp>
#include <pikv/config/value_text.hpp>

namespace pikv::config {

namespace {

using sink = std::back_insert_iterator<std::string>;

void show_line(sink out, bool comments, const option_spec& spec, std::string_view leaf, change when,
               const option_value& value) {
  if (comments)
    fmt::format_to(out, "  # {}; allowed: {}; {}\n", spec.help, allowed_values(spec),
                   to_string(when));
  fmt::format_to(out, "  {}: {}\n", leaf, show_value(spec, value));
}

void show_policy(sink out, bool comments, const section& x, const policy_choice& choice,
                 const policy_catalog& catalog) {
  const auto* kind = find_kind(catalog, x.name);
  const auto* policy = kind == nullptr ? nullptr : find_policy(*kind, choice.name);
  option_spec name{x.name + ".policy", option_type::text, choice.name, x.help, {}, {}, {}};
  if (kind != nullptr)
    name.choices = live_policy_names(*kind);
  if (policy != nullptr)
    name.help = policy->help;
  show_line(out, comments, name, "policy", x.when, choice.name);
  if (policy == nullptr)
    return;
  for (const auto& spec : policy->options) {
    const auto given = choice.options.values().find(spec.name);
    const bool set = given != choice.options.values().end();
    show_line(out, comments, spec, spec.name, x.when, set ? given->second : spec.fallback);
  }
}

void reference_row(sink out, const option_spec& spec, std::string_view key) {
  fmt::format_to(out, "| `{}` | {} | `{}` | {} | {} |\n", key, to_string(spec.type),
                 show_value(spec, spec.fallback), allowed_values(spec), spec.help);
}

void reference_policies(sink out, const section& x, const policy_kind_info& kind) {
  fmt::format_to(out, "`{}.policy`, default `{}`:\n\n", x.name, (settings{}.*x.policy).name);
  for (const auto& policy : kind.policies)
    fmt::format_to(out, "- `{}`: {}{}\n", policy.name, policy.help,
                   policy.offline.empty() ? "" : "; not for a running cache: " + policy.offline);
  for (const auto& policy : kind.policies) {
    if (policy.options.empty())
      continue;
    fmt::format_to(out, "\nOptions of `{}`:\n\n", policy.name);
    fmt::format_to(out, "| key | type | default | allowed | meaning |\n|---|---|---|---|---|\n");
    for (const auto& spec : policy.options)
      reference_row(out, spec, dotted(x, spec).name);
  }
}

} // namespace

std::string to_yaml(const settings& x, const policy_catalog& catalog, bool comments) {
  std::string text;
  const sink out{text};
  for (const auto& part : sections()) {
    if (comments)
      fmt::format_to(out, "{}# {}\n", text.empty() ? "" : "\n", part.help);
    fmt::format_to(out, "{}:\n", part.name);
    if (part.policy != nullptr)
      show_policy(out, comments, part, x.*part.policy, catalog);
    for (const auto& key : part.keys)
      show_line(out, comments, key.spec, part.leaf(key), part.when, key.get(x));
  }
  return text;
}

std::string reference(const policy_catalog& catalog) {
  std::string text = "# Configuration reference\n\n"
                     "A YAML file with the sections below. Keys that are absent keep their "
                     "defaults. Sections marked "
                     "*live* can\nchange at a reload; a reload that changes a key of a section "
                     "marked *restart* is "
                     "refused whole.\nSizes take the units B, KB, KiB, MB, MiB, GB, GiB, TiB; "
                     "durations ns, us, ms, s, "
                     "min.\n";
  const sink out{text};
  for (const auto& part : sections()) {
    fmt::format_to(out, "\n## {}\n\n{} (*{}*).\n\n", part.name, part.help, to_string(part.when));
    if (const auto* kind = find_kind(catalog, part.name); part.policy != nullptr && kind != nullptr)
      reference_policies(out, part, *kind);
    if (part.keys.empty())
      continue;
    fmt::format_to(out, "| key | type | default | allowed | meaning |\n|---|---|---|---|---|\n");
    for (const auto& key : part.keys)
      reference_row(out, key.spec, key.spec.name);
  }
  return text;
}

} // namespace pikv::config
