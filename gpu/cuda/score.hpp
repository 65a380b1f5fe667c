// SPDX-License-Identifier: Apache-2.0
/// \file
/// Page scores from summaries on a CUDA device: `kernel_table::score` with descriptors in device
/// memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include <pikv/gpu/cuda/attend.hpp>
#include <pikv/gpu/kernels.hpp>
#include <pikv/messages/error.hpp>

struct CUstream_st;

namespace pikv::gpu::cuda {

/// Upper bounds that shape a launch; what lies beyond a sequence's own numbers does nothing.
struct settled_bounds {
  std::uint32_t sequences = 0;
  std::uint32_t rows = 0;  ///< of any sequence
  std::uint32_t pages = 0; ///< settled, of any sequence
};

struct score_launch {
  cache_dims dims;
  score_kind kind = score_kind::mass;
  float scale = 1;                            ///< 1 / sqrt(head_dim)
  tensor_ref q;                               ///< device `[rows, query_heads, head_dim]`
  const attend_sequence* sequences = nullptr; ///< device `[bounds.sequences]`
  settled_bounds bounds;
  /// Device f32 `[row, query_head, settled page]`, a sequence's block at its page_lse_offset; -inf
  /// for pages that are gone or have no such summary.
  float* out = nullptr;
};

/// Only enqueues. A kernel launched next with programmatic stream serialization (select.hpp) may
/// begin before the scores are written.
result<void> score(const score_launch& x, CUstream_st* stream);

} // namespace pikv::gpu::cuda
