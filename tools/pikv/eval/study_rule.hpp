// SPDX-License-Identifier: Apache-2.0
/// \file
/// How the eval's own store chooses pages: the yardsticks that a real cache cannot have, and
/// estimates that are tried out before they become policies.
#pragma once

#include <cstdint>
#include <vector>

namespace pikv::tools {

enum class study_score : std::uint8_t {
  random,     ///< pages without looking
  mass_first, ///< estimated mass from the mean of a page's keys alone
  mass,       ///< estimated mass, second order: as the selection policy `mass`
  quest,      ///< bound of any logit: as the selection policy `quest`
  mixed,      ///< (1 - quest_share) x log mass + quest_share x bound
  oracle      ///< the true mass of the page
};

/// Per KV head, ceil(share x layer weight x old pages) pages are read, and beside them all pages
/// whose share of the mass is at least `least_share`.
struct study_rule {
  study_score score = study_score::oracle;
  double share = 0.125;
  double quest_share = 0;
  /// Shares are those of the row's whole softmax mass, in which what is always read counts exactly,
  /// instead of the mass of the old pages: heads that look at the window weigh less.
  bool of_total = false;
  double least_share = 0;              ///< 0: none are read for their share
  std::vector<double> layer_weights{}; ///< empty: 1 in every layer
  std::uint32_t page_tokens = 16;

  double share_of(std::uint32_t layer) const noexcept {
    const double x = layer < layer_weights.size() ? share * layer_weights[layer] : share;
    return x < 1 ? x : 1;
  }
};

} // namespace pikv::tools
