// SPDX-License-Identifier: Apache-2.0
/// \file
/// A plan as text for people and as JSON for programs, with the paper's formulas beside the bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "paper_model.hpp"
#include "plan_model.hpp"

namespace pikv::tools {

/// The paper's formulas for what `x` asks: d such that 2d values are one token in one layer, rho
/// the page bytes in 16 bit over those in the settled form.
paper_request paper_of(const plan_request& x, std::uint32_t kept_pages) noexcept;

/// Precondition of both: check(x). `selection` is the name that `summary_parts` came from.
std::string plan_text(const plan_request& x, std::string_view selection, std::uint32_t kept_pages);
std::string plan_json(const plan_request& x, std::string_view selection, std::uint32_t kept_pages);

} // namespace pikv::tools
