// SPDX-License-Identifier: Apache-2.0
/// \file
/// Exact merge of partial attentions on a CUDA device: `kernel_table::merge` with the partials'
/// addresses in device memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include <pikv/gpu/kernels.hpp>
#include <pikv/messages/error.hpp>

struct CUstream_st;

namespace pikv::gpu::cuda {

struct merge_launch {
  cache_dims dims;
  std::uint32_t rows = 0;
  std::uint32_t partials = 0;
  /// Device `[partials]` of device f32 `[rows, query_heads, head_dim]`.
  const float* const* outs = nullptr;
  const float* const* lses = nullptr; ///< device `[partials]` of device `[rows, query_heads]`
  tensor_ref out;                     ///< device `[rows, query_heads, head_dim]`
  float* lse = nullptr;               ///< device `[rows, query_heads]` or null
};

/// Only enqueues. Rows without entries in any partial: out 0, lse -inf.
result<void> merge(const merge_launch& x, CUstream_st* stream);

} // namespace pikv::gpu::cuda
