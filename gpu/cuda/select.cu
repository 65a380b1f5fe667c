// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/codec_launch.hpp>
#include <pikv/gpu/cuda/launch_chained.hpp>
#include <pikv/gpu/cuda/select_kernel.cuh>

namespace pikv::gpu::cuda {
namespace {

using namespace select_detail;

std::size_t route_bytes(const select_launch& x) noexcept {
  const std::size_t sums = std::size_t{x.rows} * x.dims.kv_heads * x.route.shards;
  return x.route.kind == route_kind::mass ? sums * sizeof(unsigned long long) : 0;
}

bool keys_fit(const select_launch& x) noexcept {
  return std::size_t{x.bounds.pages} * sizeof(std::uint32_t) <= tuning.keys_in_shared;
}

/// Blocks that make one list together: where all heads share it, a block of its own for some of
/// them each, which read their scores side by side.
result<std::uint32_t> blocks_of_list(const select_launch& x) {
  int device = 0, major = 0;
  PIKV_CUDA_TRY(cudaGetDevice(&device));
  PIKV_CUDA_TRY(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  const bool room =
      2 * std::size_t{x.bounds.pages} * sizeof(std::uint32_t) <= tuning.keys_in_shared;
  if (major < 9 || x.scopes > 1 || x.scores == nullptr || !room)
    return 1U;
  std::uint32_t n = most_blocks_together;
  while (x.dims.query_heads % n != 0)
    n /= 2;
  return n;
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
  // Gathered pages are written by other devices: the first kernel waits for all of the stream.
  if (x.route.kind == route_kind::mass) {
    s.shard_shares = reinterpret_cast<unsigned long long*>(x.workspace);
    const dim3 grid(x.dims.kv_heads, x.bounds.rows, x.bounds.sequences);
    if (auto ok = launch_chained(shard_kernel, "launch of route", grid, tuning.threads, 0, s,
                                 stream, x.own == nullptr);
        !ok)
      return ok;
  }
  if (!keys_fit(x))
    s.global_keys = reinterpret_cast<std::uint32_t*>(x.workspace + route_bytes(x));
  const auto together = blocks_of_list(x);
  if (!together)
    return together.error();
  const std::size_t keys = std::size_t{x.bounds.pages} * sizeof(std::uint32_t);
  const std::size_t shared = (x.route.kind == route_kind::all ? 0 : sizeof(route_storage))
                             + (keys_fit(x) ? keys : 0) + (*together > 1 ? keys : 0);
  const bool early = x.own == nullptr || x.route.kind == route_kind::mass;
  const auto kernel = *together > 1 ? select_kernel<keys_at::together>
                      : keys_fit(x) ? select_kernel<keys_at::shared>
                                    : select_kernel<keys_at::workspace>;
  return launch_chained(kernel, "launch of select",
                        dim3(x.scopes * *together, x.bounds.rows, x.bounds.sequences),
                        tuning.threads, shared, s, stream, early, *together);
}

} // namespace pikv::gpu::cuda
