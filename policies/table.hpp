// SPDX-License-Identifier: Apache-2.0
/// \file
/// One table per kind of policy. A table entry is a policy_info (name, one-line help, options) and
/// a factory; `pikv policies`, the configuration's validation and the contract tests all read it.
/// To add a policy: one file in the kind's folder and one line in that folder's table.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <pikv/messages/error.hpp>
#include <pikv/messages/nearest_name.hpp>
#include <pikv/messages/options.hpp>

namespace pikv::policies {

/// What every factory may need to know besides its options.
struct policy_context {
  std::uint32_t layers = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t experts = 0; ///< 0: the model has no gate
  std::uint32_t shards = 1;
  std::uint32_t page_tokens = 16;
  std::uint32_t protected_entries = 0; ///< sinks and window at its largest: no budget drops them
};

/// One line of a kind's table. `Policy` is the kind's interface.
template <class Policy>
struct table_entry {
  policy_info info;
  std::unique_ptr<Policy> (*make)(const option_set& options, const policy_context& context);
};

/// Makes the named policy with checked options; unknown names give errc::unknown_policy with the
/// names there are and the nearest one, bad options give the option's own error.
template <class Policy>
result<std::unique_ptr<Policy>> make(std::span<const table_entry<Policy>> table,
                                     const policy_choice& choice, const policy_context& context);

using pikv::nearest_name;

/// errc::unknown_policy with the nearest name and all that there are.
error unknown_policy(std::string_view name, std::span<const std::string> known);

/// Everything that the tables offer, for the configuration and for `pikv policies`.
policy_catalog catalog();

// -- implementation -------------------------------------------------------------------------------

template <class Policy>
result<std::unique_ptr<Policy>> make(std::span<const table_entry<Policy>> table,
                                     const policy_choice& choice, const policy_context& context) {
  for (const auto& entry : table) {
    if (entry.info.name != choice.name)
      continue;
    auto options = complete(entry.info.options, choice.options);
    if (!options)
      return options.error();
    return entry.make(*options, context);
  }
  std::vector<std::string> known;
  for (const auto& entry : table)
    known.push_back(entry.info.name);
  return unknown_policy(choice.name, known);
}

} // namespace pikv::policies
