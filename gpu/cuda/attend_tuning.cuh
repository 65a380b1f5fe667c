// SPDX-License-Identifier: Apache-2.0
/// \file
/// Constants of the attention kernel.
#pragma once

#include <cstdint>

namespace pikv::gpu::cuda {

struct attend_tuning {
  std::uint32_t narrow_consumers; ///< warps that compute, for up to 8 columns
  std::uint32_t narrow_producers; ///< warps that fetch pages
  std::uint32_t wide_consumers;   ///< the same for up to 16 columns
  std::uint32_t wide_producers;
  std::uint32_t ring_slots; ///< tiles that the ring has barriers for
  std::uint32_t segments;   ///< segments that the producer may be ahead
};

// Registers are given out to four schedulers, so warps come in fours: 12 leave 168 registers each,
// 8 leave 255.
// Chosen on an H200 (sm_90) at 8 x 32k tokens, 32 query and 8 KV heads, head dim 128, pages of 16,
// where bf16 takes 258 us: one producer instead of 4 makes int4 26% slower, 12 consumers instead of
// 8 make every form 0 to 2% slower. sm_80 uses the same values; none was measured there.
inline constexpr attend_tuning attend_tune{8, 4, 6, 2, 32, 4};
inline constexpr std::uint32_t attend_max_warps = 12; ///< of both kinds

inline constexpr std::uint32_t attend_tile_tokens = 64;
inline constexpr std::uint32_t attend_chunk_tokens = 8; ///< tokens of one lane's row group
inline constexpr std::uint32_t attend_max_tile_pages = 8;
inline constexpr std::uint32_t attend_max_columns = 16; ///< query rows times heads of one pass
inline constexpr std::uint32_t attend_max_head_dim = 128;
inline constexpr std::uint32_t attend_max_blocks = 512;
/// What a run costs to begin and end, in tiles: on an H100 12 instead of 4 saves int4 7% at 1 x 32k
/// and bf16 1%; 16 saves no more.
inline constexpr std::uint32_t attend_run_lead = 12;

} // namespace pikv::gpu::cuda
