// SPDX-License-Identifier: Apache-2.0
#include "eval/outcome.hpp"

#include <algorithm>

namespace pikv::tools {

std::optional<double> loss_of(const eval_outcome& x, std::span<const eval_outcome> all) {
  const auto* dense = dense_of(all);
  if (dense == nullptr || !dense->row.bits_per_byte || !x.row.bits_per_byte)
    return std::nullopt;
  return *x.row.bits_per_byte / *dense->row.bits_per_byte - 1;
}

const recall_score* score_of(const eval_outcome& x, std::string_view task) {
  const auto found = std::ranges::find(x.tasks, task, &task_outcome::task);
  return found == x.tasks.end() ? nullptr : &found->score;
}

const eval_outcome* dense_of(std::span<const eval_outcome> all) {
  const auto found =
      std::ranges::find_if(all, [](const eval_outcome& x) { return x.row.name == "dense"; });
  return found == all.end() ? nullptr : &*found;
}

} // namespace pikv::tools
