// SPDX-License-Identifier: Apache-2.0
/// \file
/// Summaries of pages on a CUDA device: `kernel_table::summarise` with descriptors in device
/// memory. Means and variances may differ from the host's in the last bit of their f16.
#pragma once

#include <cstddef>
#include <cstdint>

#include <pikv/gpu/kernels.hpp>
#include <pikv/messages/error.hpp>

struct CUstream_st;

namespace pikv::gpu::cuda {

struct summarise_launch {
  cache_dims dims;
  std::uint8_t parts = summary_none;
  std::uint32_t count = 0;          ///< pages
  const page_view* pages = nullptr; ///< device `[count]`, any forms; `summary` is ignored
  std::byte* const* out = nullptr;  ///< device `[count]`, `summary_layout_of(dims, parts)` each
};

/// Only enqueues. Pages without data or tokens are skipped.
result<void> summarise(const summarise_launch& x, CUstream_st* stream);

} // namespace pikv::gpu::cuda
