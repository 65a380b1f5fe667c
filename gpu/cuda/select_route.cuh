// SPDX-License-Identifier: Apache-2.0
/// \file
/// The row of a block, what it counts, and the shards that it reads.
#pragma once

#include <pikv/gpu/cuda/select.hpp>
#include <pikv/gpu/cuda/select_shares.cuh>

namespace pikv::gpu::cuda::select_detail {

/// Chosen on an H200 with 8 rows, 8 scopes, 2,048 pages: 6.5 us behind the scores.
struct select_tuning {
  int threads = 512;
  int blocks = 2; ///< that registers must allow: a block starts beside those of the scores
  std::size_t keys_in_shared = 160 * 1024; ///< bytes; longer lists keep their keys in the workspace
};
inline constexpr select_tuning tuning{};
/// That share the heads of one list, on an H200 with 8 rows, 1 scope and 2,048 pages.
inline constexpr std::uint32_t most_blocks_together = 8;
inline constexpr std::uint32_t most_shards = choose_most_shards;

struct select_shape {
  select_launch x;
  /// Shares of each shard by KV head, in units of 2^-40: sums do not depend on order.
  unsigned long long* shard_shares = nullptr; ///< `[rows, kv_heads, shards]`, of routes by mass
  std::uint32_t* global_keys = nullptr; ///< `[rows, scopes, bounds.pages]`; null: in shared memory
};

/// A block's row: blocks are (.., row of the sequence, sequence).
struct block_row {
  attend_sequence s;
  own_pages own;         ///< without gathered pages all of them
  std::uint32_t row = 0; ///< of the batch
  std::uint32_t position = 0;
  bool valid = false;
};

__device__ __forceinline__ block_row row_of(const select_launch& x) {
  block_row r;
  r.s = x.sequences[blockIdx.z];
  r.own = x.own == nullptr ? own_pages{0, r.s.settled_count} : x.own[blockIdx.z];
  r.valid = blockIdx.y < r.s.row_count;
  r.row = r.s.row_begin + blockIdx.y;
  r.position = r.s.first_position + blockIdx.y;
  return r;
}

/// What a block counts together: two sums, the smallest and the largest.
struct block_counts {
  std::uint32_t sum = 0, other = 0, low = 0xFFFFFFFFU, high = 0;
};
struct count_storage {
  block_counts warp[tuning.threads / 32];
};

/// Over the block; every thread gets it. `t` belongs to one call.
__device__ __forceinline__ block_counts count_block(block_counts x, count_storage& t) {
  const auto over_warp = [](const block_counts& y) {
    return block_counts{
        __reduce_add_sync(whole_warp, y.sum), __reduce_add_sync(whole_warp, y.other),
        __reduce_min_sync(whole_warp, y.low), __reduce_max_sync(whole_warp, y.high)};
  };
  x = over_warp(x);
  if (lane_id() == 0)
    t.warp[warp_id()] = x;
  __syncthreads();
  return over_warp(lane_id() < tuning.threads / 32 ? t.warp[lane_id()] : block_counts{});
}

/// policies::ceil_share.
__device__ inline std::uint32_t pages_to_read(const select_budget& b, std::uint32_t eligible) {
  if (b.pages > 0)
    return min(b.pages, eligible);
  if (eligible == 0)
    return 0;
  const double product = __dmul_rn(b.share, static_cast<double>(eligible));
  const double rounded = ceil(__dmul_rn(product, 1 - 1e-9));
  return rounded >= eligible ? eligible : max(1U, static_cast<std::uint32_t>(rounded));
}

// -- routes -------------------------------------------------------------------------------------

/// What a block knows of its row's shards.
struct route_storage {
  unsigned long long share[most_shards]; ///< in units of 2^-40
  std::uint32_t pages[most_shards];
  std::uint8_t in_route[most_shards];
};

/// The value and index that follow (`value`, `index`) in descending order, lower indices first.
struct ranked {
  float value = 0;
  std::uint32_t index = 0;
};
__device__ __forceinline__ bool before(const ranked& a, const ranked& b) {
  return a.value > b.value || (a.value == b.value && a.index < b.index);
}

/// Calls f(index) for `count` values from the largest on until it returns false. One warp.
template <class Value, class F>
__device__ void walk_down(std::uint32_t count, Value value, F f) {
  ranked last{__builtin_huge_valf(), 0};
  for (std::uint32_t n = 0; n < count; ++n) {
    ranked best{no_score, 0xFFFFFFFFU};
    for (std::uint32_t i = lane_id(); i < count; i += warp_lanes) {
      const float x = value(i);
      const ranked mine{x != x ? no_score : x, i};
      if ((n == 0 || before(last, mine)) && (best.index == 0xFFFFFFFFU || before(mine, best)))
        best = mine;
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      const ranked other{__shfl_xor_sync(whole_warp, best.value, step),
                         __shfl_xor_sync(whole_warp, best.index, step)};
      if (other.index != 0xFFFFFFFFU && (best.index == 0xFFFFFFFFU || before(other, best)))
        best = other;
    }
    last = best;
    if (!f(best.index))
      return;
  }
}

/// policies/routing/gate_top_k.cpp
__device__ inline void route_by_gate(const select_launch& x, std::uint32_t row, route_storage& t) {
  const select_route& r = x.route;
  const float* logits = r.gate_logits + std::size_t{row} * r.experts;
  bool reads = false;
  std::uint32_t taken = 0;
  walk_down(
      r.experts, [&](std::uint32_t i) { return logits[i]; },
      [&](std::uint32_t expert) {
        if (taken >= r.k && reads)
          return false;
        const std::uint32_t shard = expert % r.shards;
        if (lane_id() == 0 && (taken < r.k || t.pages[shard] > 0))
          t.in_route[shard] = 1;
        reads = reads || t.pages[shard] > 0;
        ++taken;
        return true;
      });
  for (std::uint32_t s = 0; !reads && s < r.shards; ++s)
    if (t.pages[s] > 0) {
      if (lane_id() == 0)
        t.in_route[s] = 1;
      reads = true;
    }
}

/// policies/routing/mass.cpp
__device__ inline void route_by_mass(const select_launch& x, route_storage& t) {
  std::uint32_t routed = 0;
  walk_down(
      x.route.shards, [&](std::uint32_t i) { return static_cast<float>(t.share[i]); },
      [&](std::uint32_t shard) {
        if (routed >= x.route.k)
          return false;
        if (t.pages[shard] > 0) {
          if (lane_id() == 0)
            t.in_route[shard] = 1;
          ++routed;
        }
        return true;
      });
}

/// Fills `t.in_route`; `t.pages` is there. Ends with a barrier.
__device__ inline void decide_route(const select_shape& s, const block_row& r, route_storage& t) {
  const select_route& route = s.x.route;
  const bool known =
      route.kind == route_kind::mass
      || (route.experts > 0 && (route.gate_known == nullptr || route.gate_known[r.row] != 0));
  for (std::uint32_t i = threadIdx.x; i < route.shards; i += tuning.threads) {
    t.in_route[i] = known ? 0 : 1;
    unsigned long long share = 0;
    if (route.kind == route_kind::mass)
      for (std::uint32_t h = 0; h < s.x.dims.kv_heads; ++h)
        share += s.shard_shares[(std::size_t{r.row} * s.x.dims.kv_heads + h) * route.shards + i];
    t.share[i] = share;
  }
  __syncthreads();
  if (known && warp_id() == 0) {
    if (route.kind == route_kind::mass)
      route_by_mass(s.x, t);
    else
      route_by_gate(s.x, r.row, t);
  }
  __syncthreads();
}

} // namespace pikv::gpu::cuda::select_detail
