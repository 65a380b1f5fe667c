// SPDX-License-Identifier: Apache-2.0
/// \file
/// Sizes and durations with units. Internal; the forms are said in value_text.hpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <pikv/messages/error.hpp>
#include <pikv/messages/options.hpp>

namespace pikv::config {

/// "B, KB, ..." or "ns, us, ...". `type` is bytes or duration, here and below.
std::string unit_names(option_type type);

/// In bytes or nanoseconds. config_value where the text is not a quantity below 2^63.
result<std::int64_t> read_quantity(option_type type, std::string_view text);

/// Whole and exact, in the largest binary unit of size or the largest unit of time.
std::string show_quantity(option_type type, std::int64_t value);

} // namespace pikv::config
