// SPDX-License-Identifier: Apache-2.0
/// \file
/// The area in which devices show each other their pages before they choose together: page views of
/// all sequences, then for each kind of score f32 `[row, query head, place]`, sequence by sequence.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <pikv/gpu/kernels.hpp>

namespace pikv::gpu {

class gather_layout {
public:
  /// `rows[i]`: rows of sequence i. `scores`: bits, 1 << score_kind.
  gather_layout(const cache_dims& dims, std::span<const gather_place> places,
                std::span<const std::uint32_t> rows, std::uint8_t scores) {
    for (std::size_t i = 0; i < places.size(); ++i) {
      pages_at_.push_back(pages_);
      scores_at_.push_back(floats_);
      pages_ += places[i].pages;
      floats_ += std::uint64_t{rows[i]} * dims.query_heads * places[i].pages;
    }
    std::size_t at = pages_ * sizeof(page_view);
    for (const auto kind : {score_kind::mass, score_kind::quest}) {
      kind_at_[static_cast<std::size_t>(kind)] = at;
      if ((scores & 1U << static_cast<unsigned>(kind)) != 0)
        at += floats_ * sizeof(float);
    }
    bytes_ = at;
  }

  std::uint64_t pages_at(std::size_t sequence) const noexcept { return pages_at_[sequence]; }
  std::uint64_t scores_at(std::size_t sequence) const noexcept { return scores_at_[sequence]; }
  std::size_t bytes() const noexcept { return bytes_; }

  /// Bytes from the beginning of an area to the scores of a kind that the layout has.
  std::size_t begin_of(score_kind kind) const noexcept {
    return kind_at_[static_cast<std::size_t>(kind)];
  }

private:
  std::vector<std::uint64_t> pages_at_, scores_at_;
  std::uint64_t pages_ = 0, floats_ = 0;
  std::size_t kind_at_[3] = {};
  std::size_t bytes_ = 0;
};

} // namespace pikv::gpu
