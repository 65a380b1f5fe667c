// SPDX-License-Identifier: Apache-2.0
#include <pikv/messages/options.hpp>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace pikv {

namespace {

bool type_matches(option_type type, const option_value& value) noexcept {
  switch (type) {
  case option_type::boolean: return std::holds_alternative<bool>(value);
  case option_type::integer:
  case option_type::bytes:
  case option_type::duration: return std::holds_alternative<std::int64_t>(value);
  case option_type::real:
    return std::holds_alternative<double>(value) || std::holds_alternative<std::int64_t>(value);
  case option_type::text: return std::holds_alternative<std::string>(value);
  }
  return false;
}

std::string range_text(const option_spec& spec) {
  if (spec.min && spec.max)
    return fmt::format("from {} to {}", *spec.min, *spec.max);
  if (spec.min)
    return fmt::format("at least {}", *spec.min);
  return fmt::format("at most {}", *spec.max);
}

result<void> check_number(const option_spec& spec, double x) {
  if (!std::isfinite(x))
    return {errc::not_finite, fmt::format("{}: {} is not a finite number", spec.name, x)};
  if ((spec.min && x < *spec.min) || (spec.max && x > *spec.max))
    return {errc::invalid_argument,
            fmt::format("{}: {} is out of range; allowed: {}", spec.name, x, range_text(spec))};
  return {};
}

result<void> check_text(const option_spec& spec, const std::string& x) {
  if (spec.choices.empty() || std::ranges::find(spec.choices, x) != spec.choices.end())
    return {};
  return {errc::invalid_argument, fmt::format("{}: \"{}\" is not allowed; choose one of: {}",
                                              spec.name, x, fmt::join(spec.choices, ", "))};
}

} // namespace

std::string_view to_string(option_type x) noexcept {
  switch (x) {
  case option_type::boolean: return "boolean";
  case option_type::integer: return "integer";
  case option_type::real: return "real number";
  case option_type::text: return "text";
  case option_type::bytes: return "size in bytes";
  case option_type::duration: return "duration";
  }
  return "unknown";
}

result<void> check(const option_spec& spec, const option_value& value) {
  if (!type_matches(spec.type, value))
    return {errc::invalid_argument, fmt::format("{}: {} has the wrong type; expected: {}",
                                                spec.name, to_string(value), to_string(spec.type))};
  if (const auto* x = std::get_if<std::int64_t>(&value))
    return check_number(spec, static_cast<double>(*x));
  if (const auto* x = std::get_if<double>(&value))
    return check_number(spec, *x);
  if (const auto* x = std::get_if<std::string>(&value))
    return check_text(spec, *x);
  return {};
}

std::string to_string(const option_value& x) {
  if (const auto* b = std::get_if<bool>(&x))
    return *b ? "true" : "false";
  if (const auto* i = std::get_if<std::int64_t>(&x))
    return fmt::format("{}", *i);
  if (const auto* d = std::get_if<double>(&x))
    return fmt::format("{}", *d);
  return std::get<std::string>(x);
}

std::int64_t option_set::integer(std::string_view name) const {
  return std::get<std::int64_t>(values_.find(name)->second);
}

double option_set::real(std::string_view name) const {
  const auto& x = values_.find(name)->second;
  const auto* i = std::get_if<std::int64_t>(&x);
  return i != nullptr ? static_cast<double>(*i) : std::get<double>(x);
}

bool option_set::boolean(std::string_view name) const {
  return std::get<bool>(values_.find(name)->second);
}

const std::string& option_set::text(std::string_view name) const {
  return std::get<std::string>(values_.find(name)->second);
}

result<option_set> complete(const std::vector<option_spec>& specs, const option_set& given) {
  option_set out;
  for (const auto& spec : specs)
    out.set(spec.name, spec.fallback);
  for (const auto& [name, value] : given.values()) {
    auto spec = std::ranges::find(specs, name, &option_spec::name);
    if (spec == specs.end())
      return {errc::invalid_argument, fmt::format("{}: there is no such option", name)};
    if (auto r = check(*spec, value); !r)
      return r.error();
    out.set(name, value);
  }
  return out;
}

} // namespace pikv
