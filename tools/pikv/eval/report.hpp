// SPDX-License-Identifier: Apache-2.0
/// \file
/// The outcomes of `pikv eval` as a table, as CSV and as JSON.
#pragma once

#include <span>
#include <string>

#include "eval/form_errors.hpp"
#include "eval/outcome.hpp"
#include "eval/recall.hpp"

namespace pikv::tools {

/// Three aligned tables: what each row costs and keeps; the needle by context and depth; the tasks,
/// with those that the model cannot do said to be so. Empty ones are left out.
std::string eval_table(std::span<const eval_outcome> x);

/// One line per row after a line of names: the fields of the JSON, flat; RFC 4180. Needle cells are
/// columns "needle@CONTEXT/DEPTH", tasks "TASK" and "TASK.choice". Empty: not measured.
std::string eval_csv(std::span<const eval_outcome> x);

/// {rows: [{name, group, help, kv_bytes, kv_share, read_share, read_bytes_share, bits_per_byte,
/// loss, coverage, coverage_by_layer, needle, needles: [{context, depth, asked, right}], tasks:
/// [{task, asked, right, choices, chosen, chance}], tokens_per_second, entries}], unusable_tasks:
/// [...], recall: as recall_json, forms: as form_errors_json}. What was not measured is null or an
/// empty list.
std::string eval_json(std::span<const eval_outcome> x, std::span<const recall_row> recall = {},
                      std::span<const form_errors> forms = {});

/// Tasks that the row "dense" was measured at and cannot do, in their order.
std::vector<task_outcome> unusable_tasks(std::span<const eval_outcome> x);

} // namespace pikv::tools
