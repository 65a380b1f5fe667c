// SPDX-License-Identifier: Apache-2.0
/// \file
/// How far each form is from the keys and values of a real model: errors of K and V, and of the
/// logits and outputs that its queries make of them. The errors of K and V alone rank forms badly:
/// a query weighs some channels far more than others, and errors of V cancel over tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include <moe_engine/model.hpp>
#include <moe_engine/thread_team.hpp>
#include <pikv/messages/error.hpp>

#include "eval/form_sums.hpp"
#include "eval/study_head.hpp"

namespace pikv::tools {

struct form_errors {
  form stored = form::int8;
  std::uint32_t page_tokens = 0;
  double bits = 0; ///< per value, of the whole page: scales and alignment too
  form_sums sums;  ///< over layers, heads and rows

  double k() const noexcept;      ///< relative: sqrt(error / norm)
  double v() const noexcept;      ///< relative
  double logit() const noexcept;  ///< relative
  double nats() const noexcept;   ///< root of the mean squared error of a logit
  double output() const noexcept; ///< relative; of attention over what is encoded alone
};

struct form_errors_options {
  std::uint32_t windows = 2;
  std::uint32_t context = 4096;
  std::uint32_t rows = 32; ///< the last of each window
};

/// Called after each window with how many of how many are done; false ends the run with
/// errc::cancelled.
using form_errors_callback = std::function<bool(std::uint32_t done, std::uint32_t of)>;

/// Every form that is not raw, in pages of 16, 32 and 64 tokens, over what the last rows of each
/// window find outside of sinks and window; by page size, then in the order of `form`. The model
/// itself attends to everything as it is. Errors: invalid_argument for too short a text and for
/// heads that pages do not hold, and the model's.
result<std::vector<form_errors>>
measure_form_errors(const moe_engine::model& m, std::span<const std::uint8_t> text,
                    const study_geometry& geometry, const form_errors_options& options,
                    moe_engine::thread_team& team, const form_errors_callback& callback);

std::string form_errors_table(std::span<const form_errors> x);

/// [{form, page_tokens, bits, k, v, logit, nats, output, raw_pages}]
nlohmann::ordered_json form_errors_json(std::span<const form_errors> x);

} // namespace pikv::tools
