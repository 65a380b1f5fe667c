// SPDX-License-Identifier: Apache-2.0
/// \file
/// Shows other devices this one's pages and scores, before all of them choose together: each run of
/// pages is written to its places in one area of each GPU (gpu/gather.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include <pikv/gpu/cuda/attend.hpp>
#include <pikv/gpu/cuda/score.hpp>
#include <pikv/gpu/kernels.hpp>
#include <pikv/messages/error.hpp>

struct CUstream_st;

namespace pikv::gpu::cuda {

/// The places of one sequence.
struct share_sequence {
  gather_place place;
  std::uint64_t pages_at = 0;  ///< in page views, from the beginning of an area
  std::uint64_t scores_at = 0; ///< in floats, from the beginning of a kind's block
};

struct share_launch {
  cache_dims dims;
  const attend_sequence* sequences = nullptr; ///< device `[bounds.sequences]`: this device's pages
  const share_sequence* places = nullptr;     ///< device `[bounds.sequences]`
  settled_bounds bounds;                      ///< `pages`: the most places of any sequence here
  std::uint32_t window = 0;
  const float* scores[2] = {}; ///< device, from `score`: mass, quest; null: not asked for
  std::size_t scores_begin[2] = {}; ///< of a kind's block, in bytes from the beginning of an area
  std::byte* areas[share_most_areas] = {}; ///< memory of any GPU that this one reaches
  std::uint32_t area_count = 0;
};

/// Only enqueues. Pages that a row reads in any case get no score, empty places neither page nor
/// score.
result<void> share(const share_launch& x, CUstream_st* stream);

} // namespace pikv::gpu::cuda
