// SPDX-License-Identifier: Apache-2.0
/// \file
/// Selection: which old pages inside the route a query row reads.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include <pikv/messages/choice.hpp>
#include <pikv/messages/types.hpp>
#include <pikv/policies/table.hpp>

namespace pikv::policies {

/// The estimate that pages are ranked by (see gpu/kernels.hpp for the formulas).
enum class page_score : std::uint8_t { none, mass, quest };

/// Whether all heads read the same pages or each KV head its own.
enum class head_scope : std::uint8_t { shared, per_kv_head };

/// Pure; const members may be called from several threads at once.
class selection_policy {
public:
  virtual ~selection_policy() = default;
  virtual page_score score() const noexcept = 0; ///< none: reads every page of the route
  virtual head_scope scope() const noexcept = 0;
  /// Pages to read of `eligible` old pages, in [0, eligible]; with a coverage, the most it may be.
  virtual std::size_t pages_to_read(std::size_t eligible) const noexcept = 0;
  /// Not 0: a row reads as few pages as bring the share of its mass that it reads to this, by the
  /// score (cover.hpp), sinks and window included, and the number of pages is not set beforehand.
  virtual double coverage() const noexcept { return 0; }
  /// With a coverage that is an estimate: pages of `eligible` old ones that a row reads at least. What
  /// few rows need (a fact that is asked for once) is in no row's estimate, but near its top.
  virtual std::size_t least_pages(std::size_t /*eligible*/) const noexcept { return 0; }
  /// With a coverage: the pages are certain to reach it, because the score is a bound.
  virtual bool certified() const noexcept { return false; }
  /// `pages_to_read` as a rule, for backends that choose pages themselves; none: only the policy
  /// can tell. Without a score there is nothing to rank, and the numbers in it mean nothing.
  virtual std::optional<select_budget> budget() const noexcept { return std::nullopt; }
};

/// Turns log-scores into shares, as ranked in docs and tests: softmax over the pages per query
/// head, then the mean over `heads` query heads. `scores` is `[heads, pages]` (row stride
/// `pages_stride`); pages with -inf get share 0. `shares` has one value per page and is
/// overwritten.
/// With `rest` (not null, one value per head) each softmax is over the pages and one more of that
/// log-score, so that the shares add up to less than 1.
void mean_softmax(const float* scores, std::size_t heads, std::size_t pages_stride,
                  std::span<float> shares, const float* rest = nullptr) noexcept;

/// Indices of the `count` largest shares among pages with `allowed[i] != 0` (empty span: all), in
/// ascending order; ties go to the lower index, so that the choice does not depend on how pages are
/// spread over devices. Appends to `chosen`. `workspace` is reused between calls.
void select_top(std::span<const float> shares, std::span<const std::uint8_t> allowed,
                std::size_t count, std::vector<std::uint32_t>& workspace,
                std::vector<std::uint32_t>& chosen);

std::span<const table_entry<selection_policy>> selection_table();

} // namespace pikv::policies
