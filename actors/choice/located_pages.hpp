// SPDX-License-Identifier: Apache-2.0
/// \file
/// The settled pages of one part of a batch on all devices together, in ascending position, with
/// each device's scores: what a choice is made from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <pikv/actors/choice/plan.hpp>

namespace pikv {

/// A settled page of one sequence, wherever it lies.
struct located_page {
  surveyed_page page;
  std::uint32_t owner = 0; ///< index into plan_input::owners
  std::uint32_t local = 0; ///< index in that owner's table
  bool kept() const noexcept { return page.tokens > 0; }
  std::uint32_t tokens() const noexcept {
    return static_cast<std::uint32_t>(page.tokens < 0 ? -page.tokens : page.tokens);
  }
};

/// One owner's scores of one part: `[row, query head, local page]`.
struct score_block {
  const float* mass = nullptr;
  const float* quest = nullptr;
  std::uint32_t pages = 0;
};

struct located_pages {
  std::vector<located_page> pages;          ///< ascending position
  std::vector<std::uint32_t> kept_before;   ///< kept pages among the first i
  std::vector<std::uint32_t> tokens_before; ///< tokens of kept pages among the first i
  std::vector<score_block> scores;          ///< by owner index
  bool single_owner = false;
};

located_pages locate_pages(const plan_input& in, std::size_t part);

/// Pages that are outside the window of a query at `position`: a prefix of all.
std::size_t old_pages(const located_pages& v, const page_geometry& g, std::uint32_t position);

} // namespace pikv
