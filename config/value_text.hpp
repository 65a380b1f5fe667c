// SPDX-License-Identifier: Apache-2.0
/// \file
/// Values of keys as text, both ways. Internal.
///   boolean   true, false (also True, TRUE, ...)
///   integer   decimal digits with an optional sign
///   real      decimal, with an optional exponent; finite
///   bytes     "8GiB", "1.5 MB", "4096": B, KB, KiB, MB, MiB, GB, GiB, TiB; no unit means B
///   duration  "5ms", "1.5 s": ns, us, ms, s, min; the unit is required
/// Sizes and durations must be whole numbers of bytes and nanoseconds; nothing is rounded.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <pikv/messages/error.hpp>
#include <pikv/messages/options.hpp>

namespace pikv::config {

/// Reads and checks a value: type, range, choices (of integers too). The error has code
/// config_value and names the value and what is allowed, not the key.
result<option_value> read_value(const option_spec& spec, std::string_view text);

/// What is wrong with a value that did not come from text; none: nothing.
std::optional<std::string> find_fault(const option_spec& spec, const option_value& value);

/// The value as YAML that read_value reads back: "1GiB", "30s", "0.125", "\"::1\"".
std::string show_value(const option_spec& spec, const option_value& value);

/// "from 1 to 64", "one of: host, cuda", "true or false", "from 1MiB to 1024TiB".
std::string allowed_values(const option_spec& spec);

/// In double quotes with YAML's escapes.
std::string quoted(std::string_view text);

/// quoted(), cut off after 60 bytes; for messages.
std::string clipped(std::string_view text);

/// `; did you mean "routing"?` where a candidate is near enough to be meant, else `.`
std::string suggestion(std::string_view name, const std::vector<std::string>& candidates);

/// True where both stand for the same value: 1 and 1.0 do.
bool same_value(const option_value& a, const option_value& b) noexcept;

} // namespace pikv::config
