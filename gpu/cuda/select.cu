// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/select.hpp>

#include <pikv/gpu/cuda/codec_launch.hpp>
#include <pikv/gpu/cuda/select_route.cuh>
#include <pikv/gpu/cuda/select_shares.cuh>
#include <pikv/gpu/cuda/select_top.cuh>
#include <pikv/gpu/cuda/shared_memory.hpp>
#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {
namespace {

using namespace select_detail;

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
  if (auto r = allow_shared_memory(reinterpret_cast<const void*>(kernel), shared); !r)
    return r;
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
