// SPDX-License-Identifier: Apache-2.0
/// \file
/// Many small copies by one kernel. A copy engine takes a microsecond or two to begin each copy,
/// which is as long as 64 KiB take on the bus; a kernel that reaches the host's memory has always
/// more loads on their way than the bus holds. But it takes multiprocessors from attention, which
/// copy engines do not: larger items go to those, over several streams, so that one copy begins while
/// others run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <pikv/gpu/kernels.hpp>
#include <pikv/messages/error.hpp>

struct CUstream_st;

namespace pikv::gpu::cuda {

/// The bus holds 110 KB at a time (2 us at 55 GB/s). A warp has `loads` * 512 bytes on their way.
struct copy_tuning {
  int threads = 512;
  int loads = 4;        ///< of 16 bytes, that a thread has on their way
  int bus_blocks = 32;  ///< 1 MiB on their way; few, for the sake of attention beside them
  int near_blocks = 64; ///< between addresses in device memory
  std::size_t piece_bytes = 8192; ///< a warp's share of an item at a time
  /// What one launch copies, 76 us on the bus. An attention needs every multiprocessor to itself,
  /// so that it is late by this long where a copy is under way; then it goes first.
  std::size_t launch_bytes = 4096 * 1024;
  std::size_t engine_bytes = 64 * 1024;       ///< items over the bus from this size on: by engines
  std::size_t near_engine_bytes = 512 * 1024; ///< the same between addresses in device memory
  int engine_streams = 8;
};
inline constexpr copy_tuning small_copies{};

/// Cuts items into pieces of `piece_bytes` at most, which share out evenly however long items are.
std::vector<copy_item> copy_pieces(std::span<const copy_item> items);

struct copy_launch {
  const copy_item* pieces = nullptr; ///< device `[count]`
  std::uint32_t count = 0;
  std::uint32_t blocks = static_cast<std::uint32_t>(small_copies.bus_blocks); ///< at most
  std::uint32_t pieces_a_launch =
      static_cast<std::uint32_t>(small_copies.launch_bytes / small_copies.piece_bytes);
};

/// Only enqueues, one kernel for every `pieces_a_launch`. All addresses must be such that kernels
/// reach them: device memory or mapped host memory. Pieces at addresses of which both are multiples
/// of 16 go 16 bytes at a time, others byte by byte; any size is right.
result<void> copy(const copy_launch& x, CUstream_st* stream);

/// Enqueues copies by a copy engine, of any memory; one call for all items where CUDA has it (13.0):
/// each call of cudaMemcpyAsync costs more than 64 KiB take on the bus.
result<void> copy_by_engine(std::span<const copy_item> items, CUstream_st* stream);

} // namespace pikv::gpu::cuda
