// SPDX-License-Identifier: Apache-2.0
/// \file
/// Paged attention on CUDA: one launch for all sequences, KV heads and pages of a batch.
///
/// Everything that a launch reads lies in device memory (or in mapped host memory), so page tables
/// may be built on the device and a captured launch may be replayed after they have changed. A
/// launch neither synchronises nor allocates. Meaning and masks are those of `attend_args`
/// (gpu/kernels.hpp): causal by position, window and settled pages, lists per row and scope.
///
/// Queries are rounded to the pages' arithmetic type (bf16 pages: bf16, all others: f16); products
/// are accumulated in f32 for every form.
#pragma once

#include <cstddef>
#include <cstdint>

#include <pikv/gpu/kernels.hpp>
#include <pikv/messages/error.hpp>

struct CUstream_st;

namespace pikv::gpu::cuda {

/// One sequence of the batch, in device memory. Row i has position `first_position + i`.
struct attend_sequence {
  const page_view* settled = nullptr; ///< `[settled_count]`, device memory; ascending positions
  const page_view* window = nullptr;  ///< `[window_count]`, device memory; read by every row
  std::uint32_t settled_count = 0;
  std::uint32_t window_count = 0;
  std::uint32_t row_begin = 0; ///< first row in the batch
  std::uint32_t row_count = 0;
  std::uint32_t first_position = 0;
  std::uint64_t page_lse_offset = 0; ///< in floats, of the sequence's block in `page_lse`
};

/// A row of the batch and the sequence that it belongs to.
struct attend_row {
  std::uint32_t row = 0;
  std::uint32_t sequence = 0; ///< index
};

/// Which settled pages a row reads, as `page_selection`; all arrays in device memory. Only the rows
/// in `owned` are read for and written: others of the batch may belong to another launch.
struct attend_selection {
  std::uint32_t scopes = 1;                    ///< 1 or kv_heads
  const std::uint32_t* offsets = nullptr;      ///< `[rows * scopes + 1]`
  const std::uint32_t* pages = nullptr;        ///< ascending within a list
  const std::uint32_t* always_from = nullptr;  ///< `[rows]`
  const attend_row* owned = nullptr;           ///< `[owned_count]`
  std::uint32_t owned_count = 0;
};

struct attend_launch {
  cache_dims dims; ///< head_dim 32, 64 or 128; at most 16 query heads for each KV head
  float scale = 1;
  tensor_ref q;                               ///< `[rows, query_heads, head_dim]`
  const attend_sequence* sequences = nullptr; ///< `[sequence_count]`, device memory
  std::uint32_t sequence_count = 0;
  std::uint32_t rows = 0;              ///< of the batch
  std::uint32_t max_sequence_rows = 1; ///< rows of the longest sequence; only affects speed
  bool selected = false;               ///< `selection` holds; else every row reads all its pages
  attend_selection selection;
  tensor_ref out;            ///< `[rows, query_heads, head_dim]`
  float* lse = nullptr;      ///< `[rows, query_heads]` or null
  float* page_lse = nullptr; ///< blocks `[row, query_head, settled page]` or null
  /// Device memory of at least `attend_workspace_bytes()`. It must be zero before the first launch
  /// that uses it and belongs to one stream; every launch leaves it fit for the next.
  std::byte* workspace = nullptr;
};

/// Bytes of workspace that any launch on the current device needs.
result<std::size_t> attend_workspace_bytes();

/// Loads the kernels of one shape, so that no later launch drains the device to load one.
result<void> attend_prepare(const cache_dims& dims);

/// Enqueues the attention. errc::invalid_argument for a shape that has no kernel. Pages of form f32
/// are not supported: rows that read one get NaN.
result<void> attend(const attend_launch& x, CUstream_st* stream);

} // namespace pikv::gpu::cuda
