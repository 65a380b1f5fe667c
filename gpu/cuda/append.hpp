// SPDX-License-Identifier: Apache-2.0
/// \file
/// Appending rows of K and V to raw pages on a CUDA device: `kernel_table::append` with its targets
/// in device memory, and the same with the work that a page needs once it is full.
#pragma once

#include <cstddef>
#include <cstdint>

#include <pikv/gpu/kernels.hpp>
#include <pikv/messages/error.hpp>

struct CUstream_st;

namespace pikv::gpu::cuda {

struct append_launch {
  cache_dims dims;
  form stored = form::f16;                ///< raw form of the pages
  tensor_ref k, v;                        ///< device `[rows, kv_heads, head_dim]`
  std::uint32_t count = 0;                ///< targets
  const append_target* targets = nullptr; ///< device `[count]`; a slot is written once
};

/// Where a page's summary and encoded copy go. Null: not wanted.
struct append_completion {
  std::byte* summary = nullptr;  ///< `summary_layout_of(dims, parts)`
  std::byte* coded = nullptr;    ///< `layout_of(dims, coded)`
  codec_error* errors = nullptr; ///< of the encoded copy; with `coded`
};

/// An append that also finishes the pages that it fills. Targets of one page must follow each other
/// with rising slots; a page is full when its last slot is written.
struct append_complete_launch {
  append_launch append;
  std::uint8_t parts = summary_none;              ///< of the summaries
  bool with_copies = true;                        ///< false: `coded` of the completions is ignored
  form coded = form::int8;                        ///< int8, int4 or fp8
  const append_completion* completions = nullptr; ///< device `[count]`, read where a page is full
};

/// Both only enqueue; encoded copies take a second kernel. Rows that begin at multiples of 16 bytes
/// are read 16 bytes at a time.
result<void> append(const append_launch& x, CUstream_st* stream);
result<void> append_complete(const append_complete_launch& x, CUstream_st* stream);

} // namespace pikv::gpu::cuda
