// SPDX-License-Identifier: Apache-2.0
/// \file
/// Adds up what selectors would have found of the attention mass of watched rows.
#pragma once

#include <array>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include <pikv/messages/types.hpp>

#include "eval/recall.hpp"
#include "eval/study_store.hpp"

namespace pikv::tools {

inline constexpr std::array<std::string_view, 7> recall_selectors{
    "random entries",
    "previous layer's gate, entries",
    "pages, Quest's bound",
    "pages, estimated mass, 1st order",
    "pages, estimated mass, 2nd order",
    "pages, true mass",
    "entries, true mass"};

/// Thread-safe.
class recall_sums {
public:
  recall_sums(const model_shape& shape, const study_geometry& geometry)
      : experts_(shape.experts), geometry_(geometry) {}

  /// `gates`: logits `[tokens, experts]` of the layer before, up to the row's own token at least;
  /// empty: the gate's selector does not count this row.
  void add(const study_row& x, std::span<const float> gates);

  /// By recall_selectors; 0 where no mass was seen.
  std::vector<recalls> shares() const;

private:
  struct sum {
    recalls found{};
    double all = 0;
  };

  std::size_t experts_;
  study_geometry geometry_;
  mutable std::mutex mutex_;
  std::array<sum, recall_selectors.size()> sums_;
};

} // namespace pikv::tools
