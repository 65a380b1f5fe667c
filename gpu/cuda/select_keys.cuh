// SPDX-License-Identifier: Apache-2.0
/// \file
/// From a row's pages and their scores to keys, which order as the shares do.
#pragma once

#include <cooperative_groups.h>

#include <pikv/gpu/cuda/select_route.cuh>
#include <pikv/gpu/cuda/select_shares.cuh>
#include <pikv/gpu/cuda/select_top.cuh>

namespace pikv::gpu::cuda::select_detail {

struct select_storage {
  top_storage<tuning.threads> top;
  share_storage<tuning.threads> shares;
  count_storage counts[3];
};

/// What is noted of a kept old page until its key is known: its tokens over its shard + 1.
__device__ __forceinline__ std::uint32_t mark_of(const page_view& page) {
  return std::uint32_t{page.tokens} << 16 | (min(page.shard.value, most_shards) + 1);
}
__device__ __forceinline__ std::uint32_t tokens_of_mark(std::uint32_t mark) { return mark >> 16; }
__device__ __forceinline__ std::uint32_t shard_of_mark(std::uint32_t mark) {
  return (mark & 0xFFFF) - 1;
}

/// What a row's pages come to.
struct marked_pages {
  std::uint32_t own_old = 0;  ///< the row reads its own pages from here on in any case
  std::uint32_t span = 0;     ///< pages that hold all old ones
  std::uint32_t eligible = 0; ///< kept old pages
};

/// Marks kept old pages, others with 0, and counts the pages of the shards.
__device__ __forceinline__ marked_pages mark_pages(const select_launch& x, const block_row& r,
                                                   std::uint32_t* keys, route_storage& route,
                                                   select_storage& t) {
  const bool routes = x.route.kind != route_kind::all;
  if (routes) {
    for (std::uint32_t i = threadIdx.x; i < x.route.shards; i += tuning.threads)
      route.pages[i] = 0;
    __syncthreads();
  }
  block_counts n;
#pragma unroll 4
  for (std::uint32_t i = threadIdx.x; i < r.s.settled_count; i += tuning.threads) {
    const page_view page = *in_global(r.s.settled + i);
    const bool old = is_old(page, x.window, r.position);
    const bool counts = old && is_kept(page);
    keys[i] = counts ? mark_of(page) : 0;
    n.sum += old && i - r.own.begin < r.own.count ? 1 : 0;
    n.other += counts ? 1 : 0;
    if (routes && counts && page.shard.value < x.route.shards)
      atomicAdd(&route.pages[page.shard.value], 1);
  }
  n = count_block(n, t.counts[0]);
  return {n.sum, x.own == nullptr ? n.sum : r.s.settled_count, n.other};
}

/// The keys that marks become, and what is counted of them by one thread.
struct key_maker {
  const select_launch& x;
  const route_storage& route;
  std::uint32_t* keys;
  block_counts n;

  /// Shares order as their keys do.
  __device__ __forceinline__ void set(std::uint32_t i, float share) {
    const std::uint32_t mark = keys[i];
    const std::uint32_t shard = shard_of_mark(mark);
    const bool may = mark > 0
                     && (x.route.kind == route_kind::all
                         || (shard < x.route.shards && route.in_route[shard] != 0));
    const std::uint32_t key = may ? 1 + __float_as_uint(share) : 0; // no share is negative
    keys[i] = key;
    n.sum += may ? 1 : 0;
    n.other += may ? tokens_of_mark(mark) : 0;
    n.low = may ? min(n.low, key) : n.low;
    n.high = max(n.high, key);
  }
};

/// Scores of `heads` query heads from `first` on for the block's row.
__device__ __forceinline__ const float* scores_of(const select_launch& x, const block_row& r,
                                                  std::uint32_t first) {
  return x.scores + r.s.page_lse_offset
         + (std::size_t{blockIdx.y} * x.dims.query_heads + first) * r.s.settled_count;
}

/// Turns marks into keys. Returns how many pages may be taken, their tokens, and the smallest and
/// largest of their keys.
__device__ __forceinline__ block_counts make_keys(const select_launch& x, const block_row& r,
                                                  std::uint32_t old, std::uint32_t* keys,
                                                  const route_storage& route, select_storage& t) {
  key_maker make{x, route, keys, {}};
  if (x.scores == nullptr) {
    for (std::uint32_t i = threadIdx.x; i < old; i += tuning.threads)
      make.set(i, 0.0F);
  } else {
    const std::uint32_t heads = x.dims.query_heads / x.scopes;
    for_shares<tuning.threads>(scores_of(x, r, blockIdx.x * heads), heads,
                               static_cast<float>(heads), r.s.settled_count, old, t.shares,
                               [&](std::uint32_t i, float share) { make.set(i, share); });
  }
  return count_block(make.n, t.counts[1]);
}

#if __CUDA_ARCH__ >= 900
/// The same by the blocks of a cluster, each for its part of the heads; the first one's keys count.
__device__ __forceinline__ block_counts make_keys_together(const select_launch& x,
                                                           const block_row& r, std::uint32_t old,
                                                           std::uint32_t* keys, float* shares,
                                                           const route_storage& route,
                                                           select_storage& t) {
  const auto cluster = cooperative_groups::this_cluster();
  const std::uint32_t blocks = cluster.num_blocks();
  const std::uint32_t heads = x.dims.query_heads / blocks;
  for_shares<tuning.threads>(scores_of(x, r, blockIdx.x * heads), heads,
                             static_cast<float>(x.dims.query_heads), r.s.settled_count, old,
                             t.shares, [&](std::uint32_t i, float share) { shares[i] = share; });
  cluster.sync();
  key_maker make{x, route, keys, {}};
  if (blockIdx.x == 0) {
    const float* parts[most_blocks_together];
#pragma unroll
    for (std::uint32_t b = 0; b < most_blocks_together; ++b)
      parts[b] = cluster.map_shared_rank(shares, b < blocks ? b : 0);
    for (std::uint32_t i = threadIdx.x; i < old; i += tuning.threads) {
      float share = 0;
#pragma unroll
      for (std::uint32_t b = 0; b < most_blocks_together; ++b)
        share += b < blocks ? parts[b][i] : 0.0F;
      make.set(i, share);
    }
  }
  cluster.sync(); // no block ends while its shares are read
  return count_block(make.n, t.counts[1]);
}
#endif

} // namespace pikv::gpu::cuda::select_detail
