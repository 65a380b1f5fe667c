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
  std::size_t keys_in_shared = 160 * 1024; ///< bytes; longer lists keep their keys in the workspace
};
constexpr select_tuning tuning{};
constexpr std::uint32_t most_shards = 1024;

struct select_shape {
  select_launch x;
  std::uint8_t* in_route = nullptr;      ///< `[rows, shards]`; null: all are
  std::uint32_t* global_keys = nullptr;  ///< `[rows, scopes, bounds.pages]`; null: in shared memory
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

/// Sum over the block; every thread gets it.
__device__ std::uint32_t block_sum(std::uint32_t x) {
  __shared__ std::uint32_t total;
  __syncthreads();
  if (threadIdx.x == 0)
    total = 0;
  __syncthreads();
  const std::uint32_t sum = __reduce_add_sync(whole_warp, x);
  if (lane_id() == 0 && sum > 0)
    atomicAdd(&total, sum);
  __syncthreads();
  return total;
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

struct route_storage {
  unsigned long long mass[most_shards]; ///< shares in units of 2^-40: sums do not depend on order
  std::uint32_t pages[most_shards];
  float2 stats[most_query_heads];
  head_stats partial[most_query_heads];
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
__device__ void route_by_gate(const select_launch& x, std::uint32_t row,
                              const std::uint32_t* shard_pages, std::uint8_t* in_route) {
  const select_route& r = x.route;
  const float* logits = r.gate_logits + std::size_t{row} * r.experts;
  bool reads = false;
  std::uint32_t taken = 0;
  walk_down(r.experts, [&](std::uint32_t i) { return logits[i]; }, [&](std::uint32_t expert) {
    if (taken >= r.k && reads)
      return false;
    const std::uint32_t shard = expert % r.shards;
    if (lane_id() == 0 && (taken < r.k || shard_pages[shard] > 0))
      in_route[shard] = 1;
    reads = reads || shard_pages[shard] > 0;
    ++taken;
    return true;
  });
  for (std::uint32_t s = 0; !reads && s < r.shards; ++s)
    if (shard_pages[s] > 0) {
      if (lane_id() == 0)
        in_route[s] = 1;
      reads = true;
    }
}

/// policies/routing/mass.cpp
__device__ void route_by_mass(const select_launch& x, const route_storage& t,
                              std::uint8_t* in_route) {
  std::uint32_t routed = 0;
  walk_down(x.route.shards, [&](std::uint32_t i) { return static_cast<float>(t.mass[i]); },
            [&](std::uint32_t shard) {
              if (routed >= x.route.k)
                return false;
              if (t.pages[shard] > 0) {
                if (lane_id() == 0)
                  in_route[shard] = 1;
                ++routed;
              }
              return true;
            });
}

/// Adds each old page to its shard: the number of pages and, where asked for, the mean share.
__device__ void add_shards(const select_launch& x, const block_row& r, route_storage& t) {
  const bool by_mass = x.route.kind == route_kind::mass;
  const std::size_t stride = r.s.settled_count;
  const float* scores = x.route.mass_scores + r.s.page_lse_offset
                        + std::size_t{blockIdx.y} * x.dims.query_heads * stride;
  std::uint32_t mine = 0;
  for (std::uint32_t i = threadIdx.x; i < r.s.settled_count; i += tuning.threads)
    mine += is_old(r.s.settled[i], x.window, r.position) ? 1 : 0;
  const std::uint32_t old = block_sum(mine);
  if (by_mass)
    softmax_stats<tuning.threads>(scores, x.dims.query_heads, stride, old, t.partial, t.stats);
  for (std::uint32_t i = threadIdx.x; i < old; i += tuning.threads) {
    const page_view page = r.s.settled[i];
    if (!is_kept(page) || page.shard.value >= x.route.shards)
      continue;
    atomicAdd(&t.pages[page.shard.value], 1);
    if (by_mass) {
      const float share = page_share(scores, x.dims.query_heads, stride, i, t.stats);
      atomicAdd(&t.mass[page.shard.value],
                static_cast<unsigned long long>(share * 0x1p40F + 0.5F));
    }
  }
  __syncthreads();
}

__global__ void __launch_bounds__(tuning.threads)
    route_kernel(const __grid_constant__ select_shape s) {
  extern __shared__ __align__(16) std::byte shared[];
  auto& t = *reinterpret_cast<route_storage*>(shared);
  wait_for_previous_kernel();
  let_next_kernel_start();
  const block_row r = row_of(s.x.sequences);
  if (!r.valid)
    return;
  const std::uint32_t shards = s.x.route.shards;
  std::uint8_t* in_route = s.in_route + std::size_t{r.row} * shards;
  const bool unknown = s.x.route.kind == route_kind::gate_top_k
                       && (s.x.route.experts == 0
                           || (s.x.route.gate_known != nullptr && s.x.route.gate_known[r.row] == 0));
  for (std::uint32_t i = threadIdx.x; i < shards; i += tuning.threads) {
    in_route[i] = unknown ? 1 : 0;
    t.mass[i] = 0;
    t.pages[i] = 0;
  }
  if (unknown)
    return;
  __syncthreads();
  add_shards(s.x, r, t);
  if (warp_id() != 0)
    return;
  if (s.x.route.kind == route_kind::mass)
    route_by_mass(s.x, t, in_route);
  else
    route_by_gate(s.x, r.row, t.pages, in_route);
}

// -- selection ----------------------------------------------------------------------------------

struct select_storage {
  top_storage<tuning.threads> top;
  float2 stats[most_query_heads];
  head_stats partial[most_query_heads];
  std::uint32_t low, high;
};

/// Marks kept old pages with their shard + 1, others with 0. Returns the old and the kept ones.
__device__ uint2 mark_pages(const select_launch& x, const block_row& r, std::uint32_t* keys) {
  std::uint32_t old = 0, kept = 0;
  for (std::uint32_t i = threadIdx.x; i < r.s.settled_count; i += tuning.threads) {
    const page_view page = r.s.settled[i];
    const bool is = is_old(page, x.window, r.position);
    const bool counts = is && is_kept(page);
    keys[i] = counts ? page.shard.value + 1 : 0;
    old += is ? 1 : 0;
    kept += counts ? 1 : 0;
  }
  return {block_sum(old), block_sum(kept)};
}

/// Turns marks into keys that order as the shares do. Returns how many pages may be taken.
__device__ std::uint32_t make_keys(const select_shape& s, const block_row& r, std::uint32_t old,
                                   std::uint32_t* keys, select_storage& t) {
  const select_launch& x = s.x;
  const std::uint32_t heads = x.dims.query_heads / x.scopes;
  const std::size_t stride = r.s.settled_count;
  const float* scores =
      x.scores + r.s.page_lse_offset
      + (std::size_t{blockIdx.y} * x.dims.query_heads + blockIdx.x * heads) * stride;
  if (x.scores != nullptr)
    softmax_stats<tuning.threads>(scores, heads, stride, old, t.partial, t.stats);
  const std::uint8_t* in_route =
      s.in_route == nullptr ? nullptr : s.in_route + std::size_t{r.row} * x.route.shards;
  std::uint32_t allowed = 0, low = 0xFFFFFFFFU, high = 0;
  for (std::uint32_t i = threadIdx.x; i < old; i += tuning.threads) {
    const std::uint32_t mark = keys[i];
    const bool may =
        mark > 0
        && (in_route == nullptr || (mark <= x.route.shards && in_route[mark - 1] != 0));
    std::uint32_t key = may ? 1 : 0;
    if (may && x.scores != nullptr) // shares are not negative: their bits are in order
      key += __float_as_uint(page_share(scores, heads, stride, i, t.stats));
    keys[i] = key;
    allowed += key > 0 ? 1 : 0;
    low = key > 0 ? min(low, key) : low;
    high = max(high, key);
  }
  if (threadIdx.x == 0) {
    t.low = 0xFFFFFFFFU;
    t.high = 0;
  }
  allowed = block_sum(allowed); // its barriers also publish low and high
  low = __reduce_min_sync(whole_warp, low);
  high = __reduce_max_sync(whole_warp, high);
  if (lane_id() == 0) {
    atomicMin(&t.low, low);
    atomicMax(&t.high, high);
  }
  __syncthreads();
  return allowed;
}

__global__ void __launch_bounds__(tuning.threads)
    select_kernel(const __grid_constant__ select_shape s) {
  extern __shared__ __align__(16) std::byte shared[];
  __shared__ select_storage t;
  const select_launch& x = s.x;
  const block_row r = row_of(x.sequences);
  const std::size_t list = std::size_t{r.row} * x.scopes + blockIdx.x;
  std::uint32_t* const keys = s.global_keys == nullptr
                                  ? reinterpret_cast<std::uint32_t*>(shared)
                                  : s.global_keys + list * x.bounds.pages;
  // The page table was there before the scores were begun; a workspace may still be in use.
  uint2 old_kept{0, 0};
  if (r.valid && s.global_keys == nullptr)
    old_kept = mark_pages(x, r, keys);
  wait_for_previous_kernel();
  let_next_kernel_start();
  if (!r.valid)
    return;
  if (s.global_keys != nullptr)
    old_kept = mark_pages(x, r, keys);
  const std::uint32_t allowed = make_keys(s, r, old_kept.x, keys, t);
  const std::uint32_t budget = x.scores == nullptr ? allowed : pages_to_read(x.budget, old_kept.y);
  const std::uint32_t wanted = min(min(budget, allowed), x.capacity);
  key_cut cut;
  if (wanted < allowed && wanted > 0)
    cut = find_cut(keys, old_kept.x, wanted, t.low, t.high, t.top);
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
  const std::size_t bytes = std::size_t{x.rows} * x.route.shards;
  return x.route.kind == route_kind::all ? 0 : (bytes + 255) / 256 * 256;
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
  if (shared > 32 * 1024)
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
  if (x.route.kind != route_kind::all) {
    s.in_route = reinterpret_cast<std::uint8_t*>(x.workspace);
    const dim3 grid(1, x.bounds.rows, x.bounds.sequences);
    if (auto ok = launch_chained(route_kernel, "launch of route", grid, tuning.threads,
                                 sizeof(route_storage), s, stream);
        !ok)
      return ok;
  }
  if (!keys_fit(x))
    s.global_keys = reinterpret_cast<std::uint32_t*>(x.workspace + route_bytes(x));
  const std::size_t shared = keys_fit(x) ? x.bounds.pages * sizeof(std::uint32_t) : 0;
  const dim3 grid(x.scopes, x.bounds.rows, x.bounds.sequences);
  return launch_chained(select_kernel, "launch of select", grid, tuning.threads, shared, s, stream);
}

result<void> compact(const compact_launch& x, CUstream_st* stream) {
  if (x.lists_count == 0)
    return {};
  return launch_chained(compact_kernel, "launch of compact", dim3(x.lists_count), 256, 0, x, stream);
}

} // namespace pikv::gpu::cuda
