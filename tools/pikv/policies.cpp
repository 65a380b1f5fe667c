// SPDX-License-Identifier: Apache-2.0
// pikv policies: what the tables offer.
#include "command.hpp"

#include "text_table.hpp"

#include <cstdio>
#include <memory>
#include <span>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <pikv/policies/table.hpp>

namespace pikv::tools {

namespace {

std::string value_text(const option_spec& spec, const option_value& value) {
  const auto* integer = std::get_if<std::int64_t>(&value);
  if (integer != nullptr && spec.type == option_type::bytes)
    return bytes_text(static_cast<double>(*integer));
  if (integer != nullptr && spec.type == option_type::duration)
    return duration_text(*integer);
  return to_string(value);
}

/// A bound in the words of the option's type.
std::string bound_text(const option_spec& spec, double bound) {
  if (spec.type == option_type::bytes || spec.type == option_type::duration)
    return value_text(spec, static_cast<std::int64_t>(bound));
  return fmt::format("{}", bound);
}

std::string allowed_text(const option_spec& spec) {
  if (!spec.choices.empty())
    return fmt::format("{}", fmt::join(spec.choices, " | "));
  if (spec.type == option_type::boolean)
    return "true | false";
  if (spec.min && spec.max)
    return fmt::format("{} to {}", bound_text(spec, *spec.min), bound_text(spec, *spec.max));
  if (spec.min)
    return fmt::format("at least {}", bound_text(spec, *spec.min));
  if (spec.max)
    return fmt::format("at most {}", bound_text(spec, *spec.max));
  return "any";
}

void print(const policy_kind_info& kind) {
  fmt::print("{}: {}\n", kind.kind, kind.help);
  for (const auto& policy : kind.policies) {
    fmt::print("\n  {}\n{}", policy.name, wrapped(policy.help, "    "));
    if (!policy.offline.empty())
      fmt::print("{}", wrapped("Not for a running cache: " + policy.offline, "    "));
    if (policy.options.empty())
      continue;
    text_table table{{{"option"}, {"type"}, {"default"}, {"allowed"}, {"meaning"}}};
    for (const auto& spec : policy.options)
      table.add({spec.name, std::string{to_string(spec.type)}, value_text(spec, spec.fallback),
                 allowed_text(spec), spec.help});
    fmt::print("{}", table.print("    "));
  }
}

int unknown_kind(std::string_view name, std::span<const std::string> kinds) {
  fmt::print(stderr, "pikv: there is no kind of policy \"{}\"; did you mean \"{}\"? (kinds: {})\n",
             name, policies::nearest_name(name, kinds), fmt::join(kinds, ", "));
  return exit_failed;
}

int run(const std::string& wanted) {
  const auto catalog = policies::catalog();
  std::vector<std::string> kinds;
  bool found = false;
  for (const auto& kind : catalog) {
    kinds.push_back(kind.kind);
    if (!wanted.empty() && kind.kind != wanted)
      continue;
    if (found)
      fmt::print("\n");
    print(kind);
    found = true;
  }
  return found ? 0 : unknown_kind(wanted, kinds);
}

} // namespace

void add_policies(CLI::App& app, int& code) {
  auto* sub = app.add_subcommand("policies", "The policies there are, with their options");
  sub->footer("Examples:\n"
              "  pikv policies             every kind\n"
              "  pikv policies selection   one kind: placement, routing, selection, compression,\n"
              "                            budget or scheduling");
  auto kind = std::make_shared<std::string>();
  sub->add_option("KIND", *kind, "Only this kind");
  sub->callback([kind, &code] { code = run(*kind); });
}

} // namespace pikv::tools
