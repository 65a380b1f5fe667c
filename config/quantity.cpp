// SPDX-License-Identifier: Apache-2.0
#include <pikv/config/quantity.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <span>
#include <vector>

#include <fmt/format.h>

#include <pikv/config/value_text.hpp>

namespace pikv::config {

namespace {

struct unit {
  std::string_view name;
  std::uint64_t size; // in bytes or nanoseconds
};

// In the order of names for people; the largest that divides a value is used to show it.
constexpr std::array size_units{
    unit{"B", 1},
    unit{"KB", 1000},
    unit{"KiB", 1024},
    unit{"MB", 1'000'000},
    unit{"MiB", std::uint64_t{1} << 20},
    unit{"GB", 1'000'000'000},
    unit{"GiB", std::uint64_t{1} << 30},
    unit{"TiB", std::uint64_t{1} << 40},
};
constexpr std::array time_units{
    unit{"ns", 1},
    unit{"us", 1000},
    unit{"ms", 1'000'000},
    unit{"s", 1'000'000'000},
    unit{"min", 60'000'000'000},
};

std::span<const unit> units_of(option_type type) {
  return type == option_type::bytes ? std::span<const unit>{size_units} : time_units;
}

bool all_digits(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

// whole.fraction * size, if that is a whole number below 2^63.
std::optional<std::int64_t> exact_product(std::string_view whole, std::string_view fraction,
                                          std::uint64_t size) {
  while (fraction.ends_with('0'))
    fraction.remove_suffix(1);
  std::uint64_t product = 0;
  std::uint64_t divisor = 1;
  const auto digits = std::string{whole} + std::string{fraction};
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), product);
  if (code != std::errc{} || end != digits.data() + digits.size())
    return {};
  for (std::size_t i = 0; i < fraction.size(); ++i)
    if (__builtin_mul_overflow(divisor, std::uint64_t{10}, &divisor))
      return {};
  if (__builtin_mul_overflow(product, size, &product) || product % divisor != 0
      || product / divisor > static_cast<std::uint64_t>(INT64_MAX))
    return {};
  return static_cast<std::int64_t>(product / divisor);
}

} // namespace

std::string unit_names(option_type type) {
  std::vector<std::string_view> names;
  for (const auto& x : units_of(type))
    names.push_back(x.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

result<std::int64_t> read_quantity(option_type type, std::string_view text) {
  const auto split = std::min(text.find_first_not_of("0123456789."), text.size());
  const auto number = text.substr(0, split);
  auto name = text.substr(split);
  name.remove_prefix(std::min(name.find_first_not_of(' '), name.size()));
  const auto point = std::min(number.find('.'), number.size());
  const auto whole = number.substr(0, point);
  const auto fraction = number.substr(std::min(point + 1, number.size()));
  if (whole.empty() || !all_digits(fraction) || number.ends_with('.'))
    return {errc::config_value, fmt::format("{} is not a {}", clipped(text), to_string(type))};
  if (name.empty() && type == option_type::bytes)
    name = "B";
  if (name.empty() && number == "0")
    return std::int64_t{0};
  const auto known = std::ranges::find(units_of(type), name, &unit::name);
  if (known == units_of(type).end())
    return {errc::config_value, fmt::format("{} has no {}unit; units: {}", clipped(text),
                                            name.empty() ? "" : "known ", unit_names(type))};
  const auto value = exact_product(whole, fraction, known->size);
  if (!value)
    return {errc::config_value,
            fmt::format("{} is too large or not a whole number of {}", clipped(text),
                        type == option_type::bytes ? "bytes" : "nanoseconds")};
  return *value;
}

std::string show_quantity(option_type type, std::int64_t value) {
  if (value == 0)
    return type == option_type::bytes ? "0B" : "0s";
  const auto size = static_cast<std::uint64_t>(std::max<std::int64_t>(value, 0));
  auto best = units_of(type).front();
  for (const auto& x : units_of(type))
    if (size % x.size == 0 && x.size > best.size
        && (type != option_type::bytes || x.name.size() != 2))
      best = x;
  return fmt::format("{}{}", value / static_cast<std::int64_t>(best.size), best.name);
}

} // namespace pikv::config
