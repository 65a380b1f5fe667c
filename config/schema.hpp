// SPDX-License-Identifier: Apache-2.0
/// \file
/// The one description of the configuration: its sections, its keys and what must hold between
/// keys. Parsing, validation, to_yaml, the reference and reloads all walk these tables. Internal.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <pikv/config/settings.hpp>
#include <pikv/messages/options.hpp>

namespace pikv::config {

/// When a change of a key takes effect: at a reload or only at a restart.
enum class change : std::uint8_t { live, restart };

std::string_view to_string(change x) noexcept;

/// A key with a value. `spec.name` is the dotted key; integers may have choices too.
struct key_entry {
  option_spec spec;
  option_value (*get)(const settings&);
  void (*set)(settings&, const option_value&); ///< precondition: find_fault found nothing
  bool list = false; ///< a text of names separated by commas, which may also stand as a YAML list
};

/// A section: either keys of its own, or (`policy` not null) a policy's name and its options, whose
/// names and ranges the catalog knows under the section's name.
struct section {
  std::string name;
  std::string help;
  change when = change::restart;
  policy_choice settings::*policy = nullptr;
  std::vector<key_entry> keys;

  std::string_view leaf(const key_entry& x) const {
    return std::string_view{x.spec.name}.substr(name.size() + 1);
  }
};

/// All sections in the order in which they are shown.
std::span<const section> sections();

/// What does not fit together, and the keys that it is about.
struct conflict {
  std::vector<std::string> keys;
  std::string what;
};

/// What is wrong with ghosts.policies: at most 8 scheduling policies that run live, each once.
std::optional<conflict> find_ghost_fault(const settings& x, const policy_catalog& catalog);

/// Rules between keys, for values that are fine by themselves.
std::optional<conflict> find_conflict(const settings& x);

/// The kind in the catalog, and the policy in the kind; null where there is none.
const policy_kind_info* find_kind(const policy_catalog& catalog, std::string_view kind) noexcept;
const policy_info* find_policy(const policy_kind_info& kind, std::string_view name) noexcept;

/// Names of the policies of a kind.
std::vector<std::string> policy_names(const policy_kind_info& kind);

/// Of those, the ones that a running cache can use.
std::vector<std::string> live_policy_names(const policy_kind_info& kind);

/// A policy's option with its dotted key as its name, for messages.
option_spec dotted(const section& x, option_spec spec);

} // namespace pikv::config
