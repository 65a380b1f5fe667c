// SPDX-License-Identifier: Apache-2.0
/// \file
/// Reading, checking, showing and comparing configurations. Pure functions on text: the watcher
/// (actors/config_watcher.hpp) decides when to call them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <pikv/config/settings.hpp>
#include <pikv/messages/error.hpp>
#include <pikv/messages/options.hpp>

namespace pikv::config {

/// Parses YAML `text` and checks every key against the schema and the policies in `catalog`.
/// Keys that are absent keep their defaults; an empty text gives all defaults. Of a policy's
/// options only those that differ from the policy's default are kept in its option_set, so that
/// equal configurations give equal settings. Taken whole or refused whole. `file` only appears in
/// messages, as in
///   pikv.yaml:12:10: selection.share: 1.5 is out of range; allowed: from 0 to 1
///   pikv.yaml:3:1: routng: there is no such key; did you mean "routing"? Allowed: runtime, ...
/// Errors: config_syntax; config_key (unknown or repeated); config_value.
result<settings> parse(std::string_view text, const policy_catalog& catalog,
                       std::string_view file = "<text>");

/// parse() of a file; io_failed when it cannot be read.
result<settings> load(const std::string& path, const policy_catalog& catalog);

/// The checks of parse() for settings that were made in C++. Errors: config_value, naming the key.
result<void> validate(const settings& x, const policy_catalog& catalog);

/// The whole configuration as YAML that parse() reads back to the same settings, one comment line
/// per key (help, unit, allowed values, live or restart).
std::string to_yaml(const settings& x, const policy_catalog& catalog, bool comments = true);

/// Markdown reference of all keys, policies and their options.
std::string reference(const policy_catalog& catalog);

/// Keys that differ, dotted ("routing.policy", "selection.share").
std::vector<std::string> changed_keys(const settings& a, const settings& b);

/// A key that differs, with its values as YAML ("none": a policy's option that is not there).
struct key_change {
  std::string key;
  std::string before;
  std::string after;
  bool restart = false; ///< it can only change at a restart
};

/// changed_keys() with the values; an option that is not set shows the policy's default.
std::vector<key_change> changes(const settings& a, const settings& b,
                                const policy_catalog& catalog);

/// Refuses (config_restart) when a key that only changes at a restart differs; the message names
/// all such keys. Used before a reload is taken.
result<void> check_reload(const settings& current, const settings& next);

} // namespace pikv::config
