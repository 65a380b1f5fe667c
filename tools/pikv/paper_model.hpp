// SPDX-License-Identifier: Apache-2.0
/// \file
/// The memory formulas of the PiKV paper (arXiv 2508.06526), as it states them, to be read beside
/// the bytes of a real cache. They count tokens and values of one layer, not bytes.
#pragma once

#include <cstdint>

namespace pikv::tools {

struct paper_request {
  double tokens = 0;      ///< L, of one sequence
  double gpus = 1;        ///< G
  double experts = 1;     ///< E
  double dim = 0;         ///< d: K values of a token in a layer (KV heads x head dim)
  double compression = 1; ///< rho = d / d'
  double kept_pages = 64; ///< K, pages that the scheduler keeps
  double page_tokens = 1; ///< S
};

struct paper_figures {
  double tokens_per_device = 0; ///< L/G + L/E
  double values = 0;            ///< M(S) = (2d/rho) (L/(G S) + K S), values of one layer
  double best_page_tokens = 0;  ///< S* = sqrt(L / (K G)), where M is least
  double best_values = 0;       ///< M* = M(S*) = (4d/rho) sqrt(K L / G)
};

/// Precondition: all fields are positive.
paper_figures paper_formulas(const paper_request& x) noexcept;

} // namespace pikv::tools
