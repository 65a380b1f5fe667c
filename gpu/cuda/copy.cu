// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/copy.hpp>

#include <algorithm>

#include <pikv/gpu/cuda/codec_numeric.cuh>
#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {
namespace {

constexpr copy_tuning tuning = small_copies;
constexpr std::uint32_t warps = tuning.threads / warp_lanes;

/// `n` units of 16 bytes. What passes here is not read again: caches are to drop it first.
__device__ __forceinline__ void copy_units(const uint4* from, uint4* to, std::uint32_t n) {
  constexpr std::uint32_t turn = warp_lanes * tuning.loads;
  for (std::uint32_t first = lane_id(); first < n; first += turn) {
    uint4 x[tuning.loads];
#pragma unroll
    for (std::uint32_t j = 0; j < tuning.loads; ++j)
      if (first + j * warp_lanes < n)
        x[j] = __ldcs(from + first + j * warp_lanes);
#pragma unroll
    for (std::uint32_t j = 0; j < tuning.loads; ++j)
      if (first + j * warp_lanes < n)
        __stcs(to + first + j * warp_lanes, x[j]);
  }
}

__device__ __forceinline__ void copy_bytes(const std::byte* from, std::byte* to, std::uint32_t n) {
  for (std::uint32_t i = lane_id(); i < n; i += warp_lanes)
    to[i] = from[i];
}

/// Warps take pieces in turn, so that all of them work on neighbours at one time: an item's pages
/// of memory are looked up once, and the last pieces end together.
__global__ void __launch_bounds__(tuning.threads)
    copy_kernel(const copy_item* __restrict__ pieces, std::uint32_t count) {
  const std::uint32_t step = gridDim.x * warps;
  std::uint32_t at = warp_id() * gridDim.x + blockIdx.x; // neighbours go to other multiprocessors
  if (at >= count)
    return;
  copy_item next = pieces[at];
  for (; at < count; at += step) {
    const copy_item piece = next;
    if (at + step < count) // is there when it is needed
      next = pieces[at + step];
    const auto* from = in_global(piece.from);
    auto* to = in_global(piece.to);
    const auto bytes = static_cast<std::uint32_t>(piece.bytes);
    const bool aligned =
        ((reinterpret_cast<std::uintptr_t>(from) | reinterpret_cast<std::uintptr_t>(to)) & 15) == 0;
    const std::uint32_t whole = aligned ? bytes / 16 : 0;
    copy_units(reinterpret_cast<const uint4*>(from), reinterpret_cast<uint4*>(to), whole);
    copy_bytes(from + std::size_t{whole} * 16, to + std::size_t{whole} * 16, bytes - whole * 16);
  }
}

} // namespace

std::vector<copy_item> copy_pieces(std::span<const copy_item> items) {
  std::vector<copy_item> pieces;
  std::size_t n = 0;
  for (const auto& x : items)
    n += (x.bytes + tuning.piece_bytes - 1) / tuning.piece_bytes;
  pieces.reserve(n);
  for (const auto& x : items)
    for (std::size_t at = 0; at < x.bytes; at += tuning.piece_bytes)
      pieces.push_back({x.from + at, x.to + at, std::min(tuning.piece_bytes, x.bytes - at)});
  return pieces;
}

result<void> copy(const copy_launch& x, CUstream_st* stream) {
  std::uint32_t n = 0;
  for (std::uint32_t first = 0; first < x.count; first += n) {
    n = std::min(x.count - first, x.pieces_a_launch);
    const std::uint32_t blocks = std::clamp((n + warps - 1) / warps, 1U, x.blocks);
    copy_kernel<<<blocks, tuning.threads, 0, stream>>>(x.pieces + first, n);
    if (auto r = check_launch("copy_kernel"); !r)
      return r;
  }
  return {};
}

} // namespace pikv::gpu::cuda
