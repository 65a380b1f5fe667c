// SPDX-License-Identifier: Apache-2.0
/// \file
/// The kernels of a selection: shares of shards, where a route asks for them, then the lists.
#pragma once

#include <pikv/gpu/cuda/select_keys.cuh>

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
    keys[i] =
        tied ? most - 1 - in_global(r.s.settled + i)->first_position : (key > cut.key ? most : 0);
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

/// `keys_at::shared`: keys lie in shared memory, behind what a route needs; else in the workspace.
/// `together`: in shared memory too, with as many shares behind them; the blocks of a cluster make
/// one list.
enum class keys_at : std::uint8_t { workspace, shared, together };

template <keys_at Keys>
__global__ void __launch_bounds__(tuning.threads, tuning.blocks)
    select_kernel(const __grid_constant__ select_shape s) {
  extern __shared__ __align__(16) std::byte shared[];
  __shared__ select_storage t;
  const select_launch& x = s.x;
  const block_row r = row_of(x);
  constexpr bool shared_keys = Keys != keys_at::workspace;
  const std::size_t list =
      Keys == keys_at::together ? r.row : std::size_t{r.row} * x.scopes + blockIdx.x;
  auto& route = *reinterpret_cast<route_storage*>(shared);
  std::uint32_t* keys = reinterpret_cast<std::uint32_t*>(
      shared + (x.route.kind == route_kind::all ? 0 : sizeof(route_storage)));
  if constexpr (!shared_keys)
    keys = in_global(s.global_keys + list * x.bounds.pages);
  // The page table was there before the scores were begun; a workspace may still be in use.
  marked_pages pages;
  if (r.valid && shared_keys)
    pages = mark_pages(x, r, keys, route, t);
  wait_for_previous_kernel();
  let_next_kernel_start();
  if (!r.valid)
    return;
  if (!shared_keys)
    pages = mark_pages(x, r, keys, route, t);
  if (x.route.kind != route_kind::all)
    decide_route(s, r, route);
  block_counts may;
  if constexpr (Keys != keys_at::together) {
    may = make_keys(x, r, pages.span, keys, route, t);
  } else {
#if __CUDA_ARCH__ >= 900
    may = make_keys_together(x, r, pages.span, keys,
                             reinterpret_cast<float*>(keys + x.bounds.pages), route, t);
#endif
    if (blockIdx.x > 0)
      return;
  }
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
