// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/select.hpp>

#include <pikv/gpu/cuda/codec_launch.hpp>
#include <pikv/gpu/cuda/select_shares.cuh>
#include <pikv/gpu/cuda/select_top.cuh>
#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {
namespace {

struct select_tuning {
  int threads = 512;
  int blocks = 2; ///< that registers must allow: a block starts beside those of the scores
  std::size_t keys_in_shared = 160 * 1024; ///< bytes; longer lists keep their keys in the workspace
};
constexpr select_tuning tuning{};
constexpr std::uint32_t most_shards = 1024;

struct select_shape {
  select_launch x;
  /// Shares of each shard by KV head, in units of 2^-40: sums do not depend on order.
  unsigned long long* shard_shares = nullptr; ///< `[rows, kv_heads, shards]`, of routes by mass
  std::uint32_t* global_keys = nullptr; ///< `[rows, scopes, bounds.pages]`; null: in shared memory
};

/// A block's row: blocks are (.., row of the sequence, sequence).
struct block_row {
  attend_sequence s;
  std::uint32_t row = 0; ///< of the batch
  std::uint32_t position = 0;
  bool valid = false;
};

__device__ __forceinline__ block_row row_of(const attend_sequence* sequences) {
  block_row r;
  r.s = sequences[blockIdx.z];
  r.valid = blockIdx.y < r.s.row_count;
  r.row = r.s.row_begin + blockIdx.y;
  r.position = r.s.first_position + blockIdx.y;
  return r;
}

/// What a block counts together: a sum, a second sum or the smallest, and the largest.
struct block_counts {
  std::uint32_t sum, low, high;
};
struct count_storage {
  block_counts warp[tuning.threads / 32];
};

/// Over the block; every thread gets it. `t` belongs to one call.
template <bool LowIsSum>
__device__ __forceinline__ block_counts count_block(block_counts x, count_storage& t) {
  const auto over_warp = [](const block_counts& y) {
    return block_counts{__reduce_add_sync(whole_warp, y.sum),
                        LowIsSum ? __reduce_add_sync(whole_warp, y.low)
                                 : __reduce_min_sync(whole_warp, y.low),
                        __reduce_max_sync(whole_warp, y.high)};
  };
  x = over_warp(x);
  if (lane_id() == 0)
    t.warp[warp_id()] = x;
  __syncthreads();
  const block_counts none{0, LowIsSum ? 0U : 0xFFFFFFFFU, 0};
  return over_warp(lane_id() < tuning.threads / 32 ? t.warp[lane_id()] : none);
}

/// policies::ceil_share.
__device__ std::uint32_t pages_to_read(const select_budget& b, std::uint32_t eligible) {
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
__device__ void route_by_gate(const select_launch& x, std::uint32_t row, route_storage& t) {
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
__device__ void route_by_mass(const select_launch& x, route_storage& t) {
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
__device__ void decide_route(const select_shape& s, const block_row& r, route_storage& t) {
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

/// A block adds up the shares of each shard's old pages, for the query heads of one KV head.
__global__ void __launch_bounds__(tuning.threads, tuning.blocks)
    shard_kernel(const __grid_constant__ select_shape s) {
  __shared__ unsigned long long sums[most_shards];
  __shared__ share_storage<tuning.threads> t;
  __shared__ count_storage counts;
  const select_launch& x = s.x;
  const block_row r = row_of(x.sequences);
  std::uint32_t old = 0;
  for (std::uint32_t i = threadIdx.x; r.valid && i < r.s.settled_count; i += tuning.threads)
    old += is_old(r.s.settled[i], x.window, r.position) ? 1 : 0;
  for (std::uint32_t i = threadIdx.x; i < x.route.shards; i += tuning.threads)
    sums[i] = 0;
  old = count_block<true>({old, 0, 0}, counts).sum;
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
  count_storage counts[2];
};

/// Marks kept old pages with their shard + 1, others with 0, and counts the pages of the shards.
/// Returns the number of old pages and of kept ones among them.
__device__ __forceinline__ uint2 mark_pages(const select_launch& x, const block_row& r,
                                            std::uint32_t* keys, route_storage& route,
                                            select_storage& t) {
  const bool routes = x.route.kind != route_kind::all;
  if (routes) {
    for (std::uint32_t i = threadIdx.x; i < x.route.shards; i += tuning.threads)
      route.pages[i] = 0;
    __syncthreads();
  }
  block_counts n{0, 0, 0};
#pragma unroll 4
  for (std::uint32_t i = threadIdx.x; i < r.s.settled_count; i += tuning.threads) {
    const page_view page = *in_global(r.s.settled + i);
    const bool old = is_old(page, x.window, r.position);
    const bool counts = old && is_kept(page);
    keys[i] = counts ? page.shard.value + 1 : 0;
    n.sum += old ? 1 : 0;
    n.low += counts ? 1 : 0;
    if (routes && counts && page.shard.value < x.route.shards)
      atomicAdd(&route.pages[page.shard.value], 1);
  }
  n = count_block<true>(n, t.counts[0]);
  return {n.sum, n.low};
}

/// Turns marks into keys that order as the shares do. Returns how many pages may be taken, and the
/// smallest and largest of their keys.
__device__ __forceinline__ block_counts make_keys(const select_shape& s, const block_row& r,
                                                  std::uint32_t old, std::uint32_t* keys,
                                                  const route_storage& route, select_storage& t) {
  const select_launch& x = s.x;
  block_counts n{0, 0xFFFFFFFFU, 0};
  const auto set = [&](std::uint32_t i, float share) {
    const std::uint32_t mark = keys[i];
    const bool may = mark > 0
                     && (x.route.kind == route_kind::all
                         || (mark <= x.route.shards && route.in_route[mark - 1] != 0));
    const std::uint32_t key = may ? 1 + __float_as_uint(share) : 0; // no share is negative
    keys[i] = key;
    n.sum += may ? 1 : 0;
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
  return count_block<false>(n, t.counts[1]);
}

/// `SharedKeys`: keys lie in shared memory, behind what a route needs; else in the workspace.
template <bool SharedKeys>
__global__ void __launch_bounds__(tuning.threads, tuning.blocks)
    select_kernel(const __grid_constant__ select_shape s) {
  extern __shared__ __align__(16) std::byte shared[];
  __shared__ select_storage t;
  const select_launch& x = s.x;
  const block_row r = row_of(x.sequences);
  const std::size_t list = std::size_t{r.row} * x.scopes + blockIdx.x;
  auto& route = *reinterpret_cast<route_storage*>(shared);
  std::uint32_t* keys = reinterpret_cast<std::uint32_t*>(
      shared + (x.route.kind == route_kind::all ? 0 : sizeof(route_storage)));
  if constexpr (!SharedKeys)
    keys = in_global(s.global_keys + list * x.bounds.pages);
  // The page table was there before the scores were begun; a workspace may still be in use.
  uint2 old_kept{0, 0};
  if (r.valid && SharedKeys)
    old_kept = mark_pages(x, r, keys, route, t);
  wait_for_previous_kernel();
  let_next_kernel_start();
  if (!r.valid)
    return;
  if (!SharedKeys)
    old_kept = mark_pages(x, r, keys, route, t);
  if (x.route.kind != route_kind::all)
    decide_route(s, r, route);
  const block_counts may = make_keys(s, r, old_kept.x, keys, route, t);
  const std::uint32_t budget = x.scores == nullptr ? may.sum : pages_to_read(x.budget, old_kept.y);
  const std::uint32_t wanted = min(min(budget, may.sum), x.capacity);
  key_cut cut;
  if (wanted < may.sum && wanted > 0)
    cut = find_cut(keys, old_kept.x, wanted, may.low, may.high, t.top);
  const std::uint32_t taken =
      wanted == 0 ? 0 : take_above(keys, old_kept.x, cut, x.lists + list * x.capacity, t.top);
  if (threadIdx.x != 0)
    return;
  x.counts[list] = taken;
  if (blockIdx.x == 0)
    x.always_from[r.row] = old_kept.x;
}

__global__ void __launch_bounds__(256) compact_kernel(const __grid_constant__ compact_launch x) {
  __shared__ std::uint32_t begin;
  wait_for_previous_kernel();
  let_next_kernel_start();
  if (threadIdx.x == 0)
    begin = 0;
  __syncthreads();
  std::uint32_t sum = 0;
  for (std::uint32_t i = threadIdx.x; i < blockIdx.x; i += 256)
    sum += x.counts[i];
  sum = __reduce_add_sync(whole_warp, sum);
  if (lane_id() == 0 && sum > 0)
    atomicAdd(&begin, sum);
  __syncthreads();
  const std::uint32_t count = x.counts[blockIdx.x];
  for (std::uint32_t i = threadIdx.x; i < count; i += 256)
    x.pages[begin + i] = x.lists[std::size_t{blockIdx.x} * x.capacity + i];
  if (threadIdx.x != 0)
    return;
  x.offsets[blockIdx.x] = begin;
  if (blockIdx.x + 1 == x.lists_count)
    x.offsets[x.lists_count] = begin + count;
}

// -- launches -----------------------------------------------------------------------------------

std::size_t route_bytes(const select_launch& x) noexcept {
  const std::size_t sums = std::size_t{x.rows} * x.dims.kv_heads * x.route.shards;
  return x.route.kind == route_kind::mass ? sums * sizeof(unsigned long long) : 0;
}

bool keys_fit(const select_launch& x) noexcept {
  return std::size_t{x.bounds.pages} * sizeof(std::uint32_t) <= tuning.keys_in_shared;
}

/// Launches a kernel that may begin before the one ahead of it in the stream has ended.
template <class Args>
result<void> launch_chained(void (*kernel)(Args), const char* name, dim3 grid, unsigned threads,
                            std::size_t shared, const Args& args, CUstream_st* stream) {
  int device = 0, major = 0;
  PIKV_CUDA_TRY(cudaGetDevice(&device));
  PIKV_CUDA_TRY(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  // As for the scores: multiprocessors that are set up otherwise would have to be idle first.
  PIKV_CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                     cudaSharedmemCarveoutMaxShared));
  if (shared > 0)
    PIKV_CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       static_cast<int>(shared)));
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = major >= 9 ? 1 : 0;
  return check(cudaLaunchKernelEx(&config, kernel, args), name);
}

result<void> check_select(const select_launch& x) {
  const auto bad = [](const char* what) { return pikv::error{errc::invalid_argument, what}; };
  if (auto ok = check_dims("select", x.dims); !ok)
    return ok;
  if (x.dims.query_heads > most_query_heads)
    return bad("select: at most 256 query heads");
  if (x.bounds.pages > 0xFFFFFFU)
    return bad("select: at most 16 million pages a sequence");
  if (x.scopes != 1 && x.scopes != x.dims.kv_heads)
    return bad("select: scopes is 1 or kv_heads");
  if (x.bounds.rows > 65535 || x.bounds.sequences > 65535)
    return bad("select: at most 65,535 rows a sequence and as many sequences");
  if (x.route.kind != route_kind::all && (x.route.shards == 0 || x.route.shards > most_shards))
    return bad("select: a route needs 1 to 1,024 shards");
  if (x.route.kind == route_kind::mass && x.route.mass_scores == nullptr)
    return bad("select: a route by mass needs scores of kind mass");
  return {};
}

} // namespace

std::size_t select_workspace_bytes(const select_launch& x) noexcept {
  const std::size_t keys = std::size_t{x.rows} * x.scopes * x.bounds.pages * sizeof(std::uint32_t);
  return route_bytes(x) + (keys_fit(x) ? 0 : keys);
}

result<void> select(const select_launch& x, CUstream_st* stream) {
  if (auto ok = check_select(x); !ok)
    return ok;
  if (x.bounds.sequences == 0 || x.bounds.rows == 0)
    return {};
  select_shape s;
  s.x = x;
  if (x.route.kind == route_kind::mass) {
    s.shard_shares = reinterpret_cast<unsigned long long*>(x.workspace);
    const dim3 grid(x.dims.kv_heads, x.bounds.rows, x.bounds.sequences);
    if (auto ok =
            launch_chained(shard_kernel, "launch of route", grid, tuning.threads, 0, s, stream);
        !ok)
      return ok;
  }
  if (!keys_fit(x))
    s.global_keys = reinterpret_cast<std::uint32_t*>(x.workspace + route_bytes(x));
  const std::size_t shared = (x.route.kind == route_kind::all ? 0 : sizeof(route_storage))
                             + (keys_fit(x) ? x.bounds.pages * sizeof(std::uint32_t) : 0);
  const dim3 grid(x.scopes, x.bounds.rows, x.bounds.sequences);
  return launch_chained(keys_fit(x) ? select_kernel<true> : select_kernel<false>,
                        "launch of select", grid, tuning.threads, shared, s, stream);
}

result<void> compact(const compact_launch& x, CUstream_st* stream) {
  if (x.lists_count == 0)
    return {};
  return launch_chained(compact_kernel, "launch of compact", dim3(x.lists_count), 256, 0, x,
                        stream);
}

} // namespace pikv::gpu::cuda
