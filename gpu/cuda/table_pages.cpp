// SPDX-License-Identifier: Apache-2.0
// The kernel table's operations on pages: append, summaries, codecs, copies.
#include <algorithm>
#include <vector>

#include <cuda_runtime_api.h>

#include <pikv/gpu/cuda/append.hpp>
#include <pikv/gpu/cuda/checksum.hpp>
#include <pikv/gpu/cuda/codec.hpp>
#include <pikv/gpu/cuda/copy.hpp>
#include <pikv/gpu/cuda/staging.hpp>
#include <pikv/gpu/cuda/status.hpp>
#include <pikv/gpu/cuda/summary.hpp>
#include <pikv/gpu/cuda/table.hpp>

namespace pikv::gpu::cuda::table {

namespace {

/// How a kernel copies items like this one, still without pieces; 0 blocks where kernels do not
/// reach both ends. Copies over the bus take long and make way for attention; others end soon.
copy_launch launch_for(const copy_item& x) {
  copy_launch way;
  if (!launch_queue::reachable(x.from) || !launch_queue::reachable(x.to)) {
    way.blocks = 0;
  } else if (in_device_memory(x.from) && in_device_memory(x.to)) {
    way.blocks = static_cast<std::uint32_t>(small_copies.near_blocks);
    way.pieces_a_launch = ~std::uint32_t{0};
  }
  return way;
}

/// Items below this size go by the kernel. Between GPUs all do: over engines pages reached half the
/// rate (to three GPUs 150 GB/s instead of 334) and stopped the decode steps beside them.
std::size_t kernel_bytes(const copy_launch& x, const copy_item& first) {
  if (x.blocks == 0)
    return 0;
  if (gpu_of(first.from) >= 0 && gpu_of(first.to) >= 0 && gpu_of(first.from) != gpu_of(first.to))
    return ~std::size_t{0};
  return x.blocks == static_cast<std::uint32_t>(small_copies.bus_blocks)
             ? small_copies.engine_bytes
             : small_copies.near_engine_bytes;
}

/// Items that touch on both sides are one: pages of one batch often lie side by side.
std::vector<copy_item> joined(std::span<const copy_item> items) {
  std::vector<copy_item> runs;
  for (const auto& i : items)
    if (!runs.empty() && runs.back().from + runs.back().bytes == i.from
        && runs.back().to + runs.back().bytes == i.to)
      runs.back().bytes += i.bytes;
    else if (i.bytes > 0)
      runs.push_back(i);
  return runs;
}

/// Copies begin on one stream while those of others run; a few are not worth the way there.
result<void> copy_by_engines(std::span<const copy_item> items, launch_queue& q) {
  const auto streams = std::min<std::size_t>(static_cast<std::size_t>(small_copies.engine_streams),
                                             items.size() / 4 + 1);
  return q.spread(streams, [&](std::size_t i, CUstream_st* stream) {
    const auto begin = items.size() * i / streams, end = items.size() * (i + 1) / streams;
    return copy_by_engine(items.subspan(begin, end - begin), stream);
  });
}

void add_pieces(copy_launch& launch, launch_queue& q, std::span<const copy_item> items) {
  const auto pieces = copy_pieces(items);
  launch.pieces = q.upload(std::span<const copy_item>{pieces});
  launch.count = static_cast<std::uint32_t>(pieces.size());
}

} // namespace

void append(const append_args& a, executor& x) noexcept {
  guarded(x, [&](launch_queue& q) -> result<void> {
    if (a.targets.empty())
      return {};
    std::uint32_t rows = 0;
    for (const auto& t : a.targets)
      rows = std::max(rows, t.row + 1);
    const auto bring = [&](const tensor_ref& t) -> result<tensor_ref> {
      if (a.k.type == a.v.type)
        return readable(q, t, rows, a.dims.kv_heads, a.dims.head_dim);
      return readable_f32(q, t, rows, a.dims.kv_heads, a.dims.head_dim);
    };
    const auto k = bring(a.k), v = bring(a.v);
    if (!k || !v)
      return k ? v.error() : k.error();
    append_launch launch{a.dims,
                         a.stored,
                         *k,
                         *v,
                         static_cast<std::uint32_t>(a.targets.size()),
                         q.upload(a.targets)};
    if (auto r = q.flush(); !r)
      return r;
    return cuda::append(launch, q.stream());
  });
}

void summarise(const summarise_args& a, executor& x) noexcept {
  guarded(x, [&](launch_queue& q) -> result<void> {
    if (a.pages.empty())
      return {};
    summarise_launch launch{a.dims, a.parts, static_cast<std::uint32_t>(a.pages.size()),
                            q.upload(a.pages), q.upload(a.out)};
    if (auto r = q.flush(); !r)
      return r;
    return cuda::summarise(launch, q.stream());
  });
}

void encode(const encode_args& a, executor& x) noexcept {
  guarded(x, [&](launch_queue& q) -> result<void> {
    if (a.pages.empty())
      return {};
    writable_array<codec_error> errors{q, a.errors.data(), a.errors.size()};
    encode_launch launch{a.dims,
                         a.pages.front().stored,
                         a.target,
                         static_cast<std::uint32_t>(a.pages.size()),
                         q.upload(a.pages),
                         q.upload(a.out),
                         errors.device()};
    if (auto r = q.flush(); !r)
      return r;
    if (auto r = cuda::encode(launch, q.stream()); !r)
      return r;
    return errors.bring_back();
  });
}

void decode(const decode_args& a, executor& x) noexcept {
  guarded(x, [&](launch_queue& q) -> result<void> {
    if (a.pages.empty())
      return {};
    decode_launch launch{a.dims, a.target, static_cast<std::uint32_t>(a.pages.size()),
                         q.upload(a.pages), q.upload(a.out)};
    if (auto r = q.flush(); !r)
      return r;
    return cuda::decode(launch, q.stream());
  });
}

void copy(std::span<const copy_item> items, executor& x) noexcept {
  guarded(x, [&](launch_queue& q) -> result<void> {
    const auto runs = joined(items);
    if (runs.empty())
      return {};
    // Asking of every item where it lies would take longer than to copy it.
    auto launch = launch_for(runs.front());
    const auto by_kernel = kernel_bytes(launch, runs.front());
    std::vector<copy_item> small, large;
    for (const auto& i : runs)
      (i.bytes < by_kernel ? small : large).push_back(i);
    if (!small.empty())
      add_pieces(launch, q, small);
    if (auto r = q.flush(); !r)
      return r;
    if (auto r = small.empty() ? result<void>{} : cuda::copy(launch, q.stream()); !r)
      return r;
    return copy_by_engines(large, q);
  });
}

void checksum(const checksum_args& a, executor& x) noexcept {
  guarded(x, [&](launch_queue& q) -> result<void> {
    if (a.runs.empty())
      return {};
    std::vector<checksum_run> runs;
    for (const auto& r : a.runs)
      runs.push_back({r.data(), r.size()});
    writable_array<std::uint64_t> out{q, a.out.data(), a.out.size()};
    const auto* device_runs = q.upload(std::span<const checksum_run>{runs});
    if (auto r = q.flush(); !r)
      return r;
    if (auto r = cuda::checksum(device_runs, static_cast<std::uint32_t>(runs.size()), out.device(),
                                q.stream());
        !r)
      return r;
    return out.bring_back();
  });
}

} // namespace pikv::gpu::cuda::table
