// SPDX-License-Identifier: Apache-2.0
/// \file
/// How the kernel table's operations on queries bring the rows of a batch to the GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <pikv/gpu/cuda/attend.hpp>
#include <pikv/gpu/cuda/launch_queue.hpp>
#include <pikv/gpu/cuda/score.hpp>
#include <pikv/gpu/cuda/staging.hpp>
#include <pikv/gpu/gather.hpp>
#include <pikv/gpu/kernels.hpp>

namespace pikv::gpu::cuda::table {

/// The rows of a batch that its sequences use, and how many there are up to the last one.
struct used_rows {
  std::vector<row_range> ranges;
  std::uint32_t end = 0;
  std::uint32_t longest = 0;
};

used_rows rows_of(std::span<const sequence_rows> sequences);

settled_bounds bounds_of(std::span<const sequence_rows> sequences);

/// The rows of a batch in device memory.
struct uploaded_rows {
  const attend_sequence* sequences = nullptr;
  const attend_row* owned = nullptr; ///< the rows of the sequences, one by one
  std::uint32_t owned_count = 0;
};

/// `offsets`: of each sequence's block of scores or masses; empty where there are none.
result<uploaded_rows> upload(launch_queue& q, std::span<const sequence_rows> sequences,
                             std::span<const std::uint64_t> offsets);

/// Of each sequence's block of scores `[rows, query heads, settled pages]`, one after the other.
std::vector<std::uint64_t> score_offsets(std::span<const sequence_rows> sequences,
                                         std::uint32_t query_heads);

/// Floats of the blocks `[rows, query heads, settled pages]` up to the end of the last one.
std::size_t scores_of(std::span<const sequence_rows> sequences,
                      std::span<const std::uint64_t> offsets, std::uint32_t query_heads);

/// The layout of an area that these sequences' pages are gathered in.
gather_layout layout_of(const cache_dims& dims, std::span<const sequence_rows> sequences,
                        std::span<const gather_place> places, std::uint8_t scores);

} // namespace pikv::gpu::cuda::table
