// SPDX-License-Identifier: Apache-2.0
/// \file
/// The kernels of a selection: shares of shards, where a route asks for them, then the lists.
#pragma once

#include <pikv/gpu/cuda/select_route.cuh>
#include <pikv/gpu/cuda/select_shares.cuh>
#include <pikv/gpu/cuda/select_top.cuh>

namespace pikv::gpu::cuda::select_detail {

/// A block adds up the shares of each shard's old pages, for the query heads of one KV head.
__global__ void __launch_bounds__(tuning.threads, tuning.blocks)
    shard_kernel(const __grid_constant__ select_shape s) {
  __shared__ unsigned long long sums[most_shards];
  __shared__ share_storage<tuning.threads> t;
  __shared__ count_storage counts;
  const select_launch& x = s.x;
  const block_row r = row_of(x);
  std::uint32_t old = 0;
  for (std::uint32_t i = threadIdx.x; r.valid && i < r.s.settled_count; i += tuning.threads)
    old += x.own != nullptr || is_old(r.s.settled[i], x.window, r.position) ? 1 : 0;
  for (std::uint32_t i = threadIdx.x; i < x.route.shards; i += tuning.threads)
    sums[i] = 0;
  old = count_block({.sum = old}, counts).sum;
  wait_for_previous_kernel();
  let_next_kernel_start();
  if (!r.valid)
    return;
  const std::size_t stride = r.s.settled_count;
  const float* scores =
      x.route.mass_scores + r.s.page_lse_offset
      + (std::size_t{blockIdx.y} * x.dims.query_heads + blockIdx.x * x.dims.group()) * stride;
  for_shares<tuning.threads>(scores, x.dims.group(), static_cast<float>(x.dims.query_heads), stride,
                             old, t, [&](std::uint32_t i, float share) {
                               const page_view page = r.s.settled[i];
                               if (is_kept(page) && page.shard.value < x.route.shards)
                                 atomicAdd(&sums[page.shard.value],
                                           static_cast<unsigned long long>(share * 0x1p40F + 0.5F));
                             });
  __syncthreads();
  unsigned long long* out =
      s.shard_shares + (std::size_t{r.row} * x.dims.kv_heads + blockIdx.x) * x.route.shards;
  for (std::uint32_t i = threadIdx.x; i < x.route.shards; i += tuning.threads)
    out[i] = sums[i];
}

// -- selection ----------------------------------------------------------------------------------

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

/// Turns marks into keys that order as the shares do. Returns how many pages may be taken, their
/// tokens, and the smallest and largest of their keys.
__device__ __forceinline__ block_counts make_keys(const select_shape& s, const block_row& r,
                                                  std::uint32_t old, std::uint32_t* keys,
                                                  const route_storage& route, select_storage& t) {
  const select_launch& x = s.x;
  block_counts n;
  const auto set = [&](std::uint32_t i, float share) {
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
  };
  if (x.scores == nullptr) {
    for (std::uint32_t i = threadIdx.x; i < old; i += tuning.threads)
      set(i, 0.0F);
  } else {
    const std::uint32_t heads = x.dims.query_heads / x.scopes;
    const std::size_t stride = r.s.settled_count;
    const float* scores =
        x.scores + r.s.page_lse_offset
        + (std::size_t{blockIdx.y} * x.dims.query_heads + blockIdx.x * heads) * stride;
    for_shares<tuning.threads>(scores, heads, static_cast<float>(heads), stride, old, t.shares,
                               set);
  }
  return count_block(n, t.counts[1]);
}

/// Gathered pages lie device by device: of those with the key of the cut the first by position are
/// taken. The keys become ones that say so.
__device__ __forceinline__ key_cut cut_by_position(const block_row& r, std::uint32_t* keys,
                                                   std::uint32_t span, std::uint32_t wanted,
                                                   key_cut cut, select_storage& t) {
  constexpr std::uint32_t most = 0xFFFFFFFFU;
  __syncthreads();
  for (std::uint32_t i = threadIdx.x; i < span; i += tuning.threads) {
    const std::uint32_t key = keys[i];
    const bool tied = key != 0 && key == cut.key;
    keys[i] = tied ? most - 1 - in_global(r.s.settled + i)->first_position
                   : (key > cut.key ? most : 0);
  }
  __syncthreads();
  return find_cut(keys, span, wanted, 1, most, t.top);
}

/// Takes the pages of one list. Returns how many of them are own, and this thread's part of the
/// tokens of all where totals are asked for: pages need not be full.
__device__ __forceinline__ uint2 take_pages(const select_launch& x, const block_row& r,
                                            std::uint32_t* keys, std::uint32_t span,
                                            std::uint32_t wanted, const block_counts& may,
                                            std::uint32_t* list, select_storage& t) {
  if (wanted == 0)
    return {0, 0};
  key_cut cut;
  if (wanted < may.sum)
    cut = find_cut(keys, span, wanted, may.low, may.high, t.top);
  std::uint32_t tokens = 0;
  if (x.own == nullptr) {
    const auto take = [&](std::uint32_t place, std::uint32_t page) {
      list[place] = page;
      if (x.totals != nullptr)
        tokens += in_global(r.s.settled + page)->tokens;
    };
    const std::uint32_t taken = take_above(keys, span, cut, take, t.top);
    return {taken, tokens};
  }
  if (cut.ties > 0)
    cut = cut_by_position(r, keys, span, wanted, cut, t);
  for (std::uint32_t i = threadIdx.x; x.totals != nullptr && i < span; i += tuning.threads)
    tokens += keys[i] > cut.key ? in_global(r.s.settled + i)->tokens : 0;
  const auto take = [&](std::uint32_t place, std::uint32_t page) {
    if (place < x.capacity)
      list[place] = page;
  };
  const std::uint32_t taken = take_above(keys + r.own.begin, r.own.count, cut, take, t.top);
  return {min(taken, x.capacity), tokens};
}

/// Writes one list's totals; `taken` as from take_pages.
__device__ __forceinline__ void total_up(const select_launch& x, std::size_t list, uint2 taken,
                                         std::uint32_t routed_tokens, const route_storage& route,
                                         select_storage& t) {
  const bool routes = x.route.kind != route_kind::all;
  block_counts n{.sum = taken.y};
  for (std::uint32_t i = threadIdx.x; routes && i < x.route.shards; i += tuning.threads)
    n.other += route.in_route[i];
  n = count_block(n, t.counts[2]);
  if (threadIdx.x == 0)
    x.totals[list] = {taken.x, n.sum, routed_tokens, routes ? n.other : x.route.shards};
}

/// `SharedKeys`: keys lie in shared memory, behind what a route needs; else in the workspace.
template <bool SharedKeys>
__global__ void __launch_bounds__(tuning.threads, tuning.blocks)
    select_kernel(const __grid_constant__ select_shape s) {
  extern __shared__ __align__(16) std::byte shared[];
  __shared__ select_storage t;
  const select_launch& x = s.x;
  const block_row r = row_of(x);
  const std::size_t list = std::size_t{r.row} * x.scopes + blockIdx.x;
  auto& route = *reinterpret_cast<route_storage*>(shared);
  std::uint32_t* keys = reinterpret_cast<std::uint32_t*>(
      shared + (x.route.kind == route_kind::all ? 0 : sizeof(route_storage)));
  if constexpr (!SharedKeys)
    keys = in_global(s.global_keys + list * x.bounds.pages);
  // The page table was there before the scores were begun; a workspace may still be in use.
  marked_pages pages;
  if (r.valid && SharedKeys)
    pages = mark_pages(x, r, keys, route, t);
  wait_for_previous_kernel();
  let_next_kernel_start();
  if (!r.valid)
    return;
  if (!SharedKeys)
    pages = mark_pages(x, r, keys, route, t);
  if (x.route.kind != route_kind::all)
    decide_route(s, r, route);
  const block_counts may = make_keys(s, r, pages.span, keys, route, t);
  const std::uint32_t budget =
      x.scores == nullptr ? may.sum : pages_to_read(x.budget, pages.eligible);
  // A list of own pages has room for what it can hold of all that are taken.
  const std::uint32_t wanted =
      min(min(budget, may.sum), x.own == nullptr ? x.capacity : 0xFFFFFFFFU);
  const uint2 taken =
      take_pages(x, r, keys, pages.span, wanted, may, x.lists + list * x.capacity, t);
  if (x.totals != nullptr)
    total_up(x, list, taken, may.other, route, t);
  if (threadIdx.x != 0)
    return;
  x.counts[list] = taken.x;
  if (blockIdx.x == 0)
    x.always_from[r.row] = pages.own_old;
}

} // namespace pikv::gpu::cuda::select_detail
