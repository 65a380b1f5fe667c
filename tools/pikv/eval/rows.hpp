// SPDX-License-Identifier: Apache-2.0
/// \file
/// The settings that `pikv eval` compares, one list made from the policy tables: a policy that is
/// added there is measured here without a further line. rows.cpp says what is tried of each kind.
///
/// Names: POLICY, then what it was given: "int8", "int8+keep_1_2", "h2o_1_4", "quest_per_head_1_8",
/// "gate_top_k_4"; the group before it ("routing/adaptive") where another row has that name
/// already. Groups are the kinds, and "baseline", "combined" and "study".
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <pikv/config/settings.hpp>
#include <pikv/messages/error.hpp>
#include <pikv/messages/options.hpp>

#include "demo/rows.hpp"
#include "eval/study_rule.hpp"

namespace pikv::tools {

struct eval_row {
  std::string name; ///< also in --only
  std::string group;
  std::string help;                            ///< one line
  bool plain = false;                          ///< plain arrays without PiKV
  std::optional<study_rule> study;             ///< attention of the eval's own store; not PiKV
  std::function<void(config::settings&)> edit; ///< of settings_of's configuration; may be empty
};

/// Shares of dense entries that evicting rows keep, descending, such as .5, .25, .125.
std::vector<eval_row> eval_rows(const policy_catalog& catalog, std::span<const double> keep_shares);

/// The rows with these names or of these groups, in their order; all but "study" for no names.
/// Errors: invalid_argument with the nearest name.
result<std::vector<eval_row>> pick_rows(std::vector<eval_row> rows,
                                        std::span<const std::string> names);

/// The configuration of a row that is neither plain nor a study.
config::settings settings_of(const eval_row& row, const demo_base& base);

/// 0.25 -> "1_4", 0.3 -> "0.3".
std::string share_name(double share);

} // namespace pikv::tools
