// SPDX-License-Identifier: Apache-2.0
/// \file
/// Hashes of runs of device memory: `kernel_table::checksum`.
#pragma once

#include <cstddef>
#include <cstdint>

#include <pikv/messages/error.hpp>

struct CUstream_st;

namespace pikv::gpu::cuda {

struct checksum_run {
  const std::byte* data = nullptr; ///< device; 8-byte aligned
  std::size_t bytes = 0;
};

/// out[i] = sum over the 64-bit words w_j of run i of mix(w_j + (j + 1) * odd), modulo 2^64, with
/// the finaliser of SplitMix64 (Steele, Lea, Flood 2014) as mix; a sum, so that any number of
/// threads may take part. Only enqueues.
result<void> checksum(const checksum_run* runs, std::uint32_t count, std::uint64_t* out,
                      CUstream_st* stream);

} // namespace pikv::gpu::cuda
