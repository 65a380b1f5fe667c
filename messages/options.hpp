// SPDX-License-Identifier: Apache-2.0
/// \file
/// The vocabulary in which policies describe themselves and receive their options, so that one
/// description drives parsing, validation, `pikv policies`, `pikv config show` and the docs.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <pikv/messages/error.hpp>

namespace pikv {

/// A typed option value. Integers are counts or bytes or nanoseconds, as the option's unit says.
using option_value = std::variant<bool, std::int64_t, double, std::string>;

enum class option_type : std::uint8_t { boolean, integer, real, text, bytes, duration };

std::string_view to_string(option_type x) noexcept;

/// What a key may hold. For `bytes` the value is an integer in bytes ("8GiB" in YAML), for
/// `duration` an integer in nanoseconds ("5ms" in YAML).
struct option_spec {
  std::string name;
  option_type type = option_type::integer;
  option_value fallback = std::int64_t{0}; ///< the default
  std::string help;                        ///< one line
  std::optional<double> min;               ///< inclusive
  std::optional<double> max;               ///< inclusive
  std::vector<std::string> choices;        ///< for text: the allowed values; empty: any
};

/// Refuses a value of the wrong type, out of range, not finite, or not among the choices; the
/// message names the option, the value and what is allowed. Integers are accepted for reals.
result<void> check(const option_spec& spec, const option_value& value);

/// "0.25", "true", "per_kv_head": as `pikv config show` prints it.
std::string to_string(const option_value& x);

/// Options of one policy by name. Values that are absent come from the defaults.
class option_set {
public:
  void set(std::string name, option_value value) { values_[std::move(name)] = std::move(value); }
  const std::map<std::string, option_value, std::less<>>& values() const noexcept {
    return values_;
  }

  /// Preconditions: the name is in the set and has this type (`complete` ensures both).
  std::int64_t integer(std::string_view name) const;
  double real(std::string_view name) const;
  bool boolean(std::string_view name) const;
  const std::string& text(std::string_view name) const;

private:
  std::map<std::string, option_value, std::less<>> values_;
};

/// Checks every given value and adds the defaults of those not given. Unknown names are refused.
result<option_set> complete(const std::vector<option_spec>& specs, const option_set& given);

/// A policy as its kind's table describes it.
struct policy_info {
  std::string name;
  std::string help; ///< one line
  std::vector<option_spec> options;
  std::string offline = {}; ///< why a running cache cannot use it, and what can; empty: it can
};

/// A kind of policy ("placement", "routing", ...) with all that its table offers.
struct policy_kind_info {
  std::string kind;
  std::string help;
  std::vector<policy_info> policies;
};

using policy_catalog = std::vector<policy_kind_info>;

/// A policy's name and its options, as the configuration gives them.
struct policy_choice {
  std::string name;
  option_set options;
};

} // namespace pikv
