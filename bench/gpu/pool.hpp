// SPDX-License-Identifier: Apache-2.0
/// \file
/// Device-side helpers of the attention benchmark: a pool of pages with random contents, and the
/// plain read that times are compared with.
#pragma once

#include <cstddef>
#include <cstdint>

#include <pikv/gpu/page_layout.hpp>

struct CUstream_st;

namespace pikv::bench {

/// Fills `pages` pages with about normal values of deviation 1, in valid encodings of `stored`.
void fill_pages(std::byte* pool, std::uint64_t pages, const gpu::cache_dims& dims, form stored,
                CUstream_st* stream);

/// Fills an array of bf16 with about normal values.
void fill_bf16(void* data, std::uint64_t count, std::uint64_t seed, CUstream_st* stream);

/// Reads `bytes` (a multiple of 16) once, with 16-byte loads of 2,112 blocks of 1,024 threads.
void read_all(const std::byte* data, std::uint64_t bytes, std::uint32_t* sink, CUstream_st* stream);

/// Reads `count` pieces of `bytes` (a multiple of 16) each, wherever they lie: what pages allow
/// that are scattered in memory. Half a block a piece.
void read_pieces(const std::byte* const* pieces, std::uint64_t count, std::uint32_t bytes,
                 std::uint32_t* sink, CUstream_st* stream);

} // namespace pikv::bench
