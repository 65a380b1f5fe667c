// SPDX-License-Identifier: Apache-2.0
/// \file
/// How `pikv demo --load` is configured: the demo's rows on a small machine that has to work for
/// its memory, so that every part of the cache has something to show.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <pikv/config/settings.hpp>
#include <pikv/messages/error.hpp>

#include "demo/rows.hpp"

namespace pikv::tools {

/// Tokens of a sequence under load: 1,024, or fewer where base.context is shorter.
std::uint32_t load_tokens(const demo_base& base) noexcept;

/// The rows of these names, or a few that differ most for no names. Errors: invalid_argument for
/// an unknown name and for a row that runs without PiKV.
result<std::vector<demo_row>> pick_load_rows(std::span<const std::string> names);

/// A row on two devices of 16 MiB with a budget of 3/4 of a sequence, ghosts, frequent audits and,
/// where the row selects pages by mass, a fidelity target. Rows differ in live keys only.
config::settings load_settings(const demo_row& row, const demo_base& base);

/// `now` with the live keys of `row`: what a reload to that row asks for.
config::settings with_live_keys(config::settings now, const config::settings& row);

} // namespace pikv::tools
