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
    if (auto ok =
            launch_chained(shard_kernel, "launch of route", grid, tuning.threads, 0, s, stream,
                           x.own == nullptr);
        !ok)
      return ok;
  }
  if (!keys_fit(x))
    s.global_keys = reinterpret_cast<std::uint32_t*>(x.workspace + route_bytes(x));
  const std::size_t shared = (x.route.kind == route_kind::all ? 0 : sizeof(route_storage))
                             + (keys_fit(x) ? x.bounds.pages * sizeof(std::uint32_t) : 0);
  const dim3 grid(x.scopes, x.bounds.rows, x.bounds.sequences);
  return launch_chained(keys_fit(x) ? select_kernel<true> : select_kernel<false>,
                        "launch of select", grid, tuning.threads, shared, s, stream,
                        x.own == nullptr || x.route.kind == route_kind::mass);
}

} // namespace pikv::gpu::cuda
