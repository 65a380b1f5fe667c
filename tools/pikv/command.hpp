// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the subcommands of `pikv` share. Each subcommand is one file with one `add_` function that
/// registers it; CLI11 calls it back with parsed options, and it leaves its exit code in `code`.
///
/// Exit codes: 0 done; 1 the command ran and failed (the reason is on stderr); 2 wrong usage.
#pragma once

#include <string>
#include <string_view>

#include <CLI/CLI.hpp>

#include <pikv/messages/error.hpp>

namespace pikv::tools {

inline constexpr int exit_failed = 1;
inline constexpr int exit_usage = 2;

void add_version(CLI::App& app, int& code);
void add_policies(CLI::App& app, int& code);
void add_config(CLI::App& app, int& code);
void add_config_remote(CLI::App& config, int& code); ///< what asks a running process
void add_plan(CLI::App& app, int& code);
void add_replay(CLI::App& app, int& code);
void add_demo(CLI::App& app, int& code); ///< absent in builds without the examples
void add_eval(CLI::App& app, int& code); ///< likewise

/// Prints "pikv: ..." to stderr; returns exit_failed.
int fail(const error& x);

/// fail() for an error whose text names a place already (file:line:column): printed as it is.
int fail_at(const error& x);

} // namespace pikv::tools
