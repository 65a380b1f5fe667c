// SPDX-License-Identifier: Apache-2.0
#include <pikv/config/value_text.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include <pikv/config/quantity.hpp>
#include <pikv/messages/nearest_name.hpp>

namespace pikv::config {

namespace {

template <class T>
result<option_value> read_number(option_type type, std::string_view text) {
  auto digits = text;
  if (digits.starts_with('+') && !digits.starts_with("+-"))
    digits.remove_prefix(1);
  T value{};
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (code == std::errc::result_out_of_range)
    return {errc::config_value, fmt::format("{} is out of range", clipped(text))};
  if (code != std::errc{} || end != digits.data() + digits.size())
    return {errc::config_value,
            fmt::format("{} is not {} {}", clipped(text), type == option_type::integer ? "an" : "a",
                        to_string(type))};
  return option_value{value};
}

result<option_value> read_boolean(std::string_view text) {
  if (text == "true" || text == "True" || text == "TRUE")
    return option_value{true};
  if (text == "false" || text == "False" || text == "FALSE")
    return option_value{false};
  return {errc::config_value, fmt::format("{} is not a boolean", clipped(text))};
}

result<option_value> read_typed(option_type type, std::string_view text) {
  switch (type) {
  case option_type::boolean: return read_boolean(text);
  case option_type::integer: return read_number<std::int64_t>(type, text);
  case option_type::real: return read_number<double>(type, text);
  case option_type::text: return option_value{std::string{text}};
  case option_type::bytes:
  case option_type::duration: break;
  }
  const auto quantity = read_quantity(type, text);
  return quantity ? result<option_value>{*quantity} : quantity.error();
}

std::string show_bound(const option_spec& spec, double bound) {
  if (spec.type == option_type::real)
    return fmt::format("{}", bound);
  return show_value(spec, static_cast<std::int64_t>(bound));
}

// Plain YAML scalars that every reader takes for the same text.
bool plain(std::string_view text) {
  const auto safe = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'
           || c == '.' || c == '/' || c == '-';
  };
  return !text.empty() && text.front() != '-' && text != "null" && text != "Null" && text != "NULL"
         && text.find_first_not_of('.') != text.npos && std::ranges::all_of(text, safe);
}

} // namespace

result<option_value> read_value(const option_spec& spec, std::string_view text) {
  auto value = read_typed(spec.type, text);
  if (!value)
    return {errc::config_value,
            fmt::format("{}; allowed: {}", value.error().what, allowed_values(spec))};
  if (const auto fault = find_fault(spec, *value))
    return {errc::config_value, *fault};
  return value;
}

std::optional<std::string> find_fault(const option_spec& spec, const option_value& value) {
  const auto shown = show_value(spec, value);
  const auto listed = spec.type == option_type::text || spec.type == option_type::integer;
  if (listed && !spec.choices.empty()
      && std::ranges::find(spec.choices, to_string(value)) == spec.choices.end())
    return fmt::format("{} is not allowed{} Allowed: {}", clipped(to_string(value)),
                       suggestion(to_string(value), spec.choices), allowed_values(spec));
  const auto checked = check(spec, value);
  if (checked)
    return {};
  const auto* number = std::get_if<double>(&value);
  const bool typed = number != nullptr ? spec.type == option_type::real
                                       : std::holds_alternative<std::int64_t>(value)
                                             && spec.type != option_type::boolean
                                             && spec.type != option_type::text;
  return fmt::format("{} {}; allowed: {}", shown,
                     !typed                               ? "has the wrong type"
                     : checked.code() == errc::not_finite ? "is not a finite number"
                                                          : "is out of range",
                     allowed_values(spec));
}

std::string show_value(const option_spec& spec, const option_value& value) {
  const auto* integer = std::get_if<std::int64_t>(&value);
  if (integer != nullptr && (spec.type == option_type::bytes || spec.type == option_type::duration))
    return show_quantity(spec.type, *integer);
  const auto* text = std::get_if<std::string>(&value);
  return text != nullptr && !plain(*text) ? quoted(*text) : to_string(value);
}

std::string allowed_values(const option_spec& spec) {
  if (spec.type == option_type::boolean)
    return "true or false";
  if (!spec.choices.empty())
    return fmt::format("{}", fmt::join(spec.choices, ", "));
  const auto units = spec.type == option_type::bytes || spec.type == option_type::duration
                         ? fmt::format(" ({})", unit_names(spec.type))
                         : std::string{};
  if (spec.min && spec.max)
    return fmt::format("from {} to {}{}", show_bound(spec, *spec.min), show_bound(spec, *spec.max),
                       units);
  if (spec.min)
    return fmt::format("at least {}{}", show_bound(spec, *spec.min), units);
  if (spec.max)
    return fmt::format("at most {}{}", show_bound(spec, *spec.max), units);
  return fmt::format("any {}{}", to_string(spec.type), units);
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      out += fmt::format("\\{}", c);
    else if (c == '\n')
      out += "\\n";
    else if (byte < 0x20 || byte == 0x7f)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += c;
  }
  return out + "\"";
}

std::string clipped(std::string_view text) {
  constexpr std::size_t longest = 60;
  return text.size() <= longest ? quoted(text) : quoted(text.substr(0, longest)) + "... and so on";
}

std::string suggestion(std::string_view name, const std::vector<std::string>& candidates) {
  const auto nearest = nearest_name(name, candidates);
  const auto far = std::max<std::size_t>(2, std::max(name.size(), nearest.size()) / 2);
  if (nearest.empty() || edit_distance(name.substr(0, 64), nearest) > far)
    return ".";
  return fmt::format("; did you mean {}?", quoted(nearest));
}

bool same_value(const option_value& a, const option_value& b) noexcept {
  const auto number = [](const option_value& x) -> std::optional<double> {
    if (const auto* d = std::get_if<double>(&x))
      return *d;
    if (const auto* i = std::get_if<std::int64_t>(&x))
      return static_cast<double>(*i);
    return {};
  };
  if (a.index() == b.index())
    return a == b;
  return number(a) && number(b) && *number(a) == *number(b);
}

} // namespace pikv::config
