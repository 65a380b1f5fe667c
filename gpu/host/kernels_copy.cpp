// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include <xxhash.h>

#include <pikv/gpu/host/kernels.hpp>
#include <pikv/gpu/host/worker_pool.hpp>

namespace pikv::gpu::detail {

void host_copy(std::span<const copy_item> items, executor& exec) noexcept {
  exec.run(items.size(), [&](std::size_t i, std::size_t) {
    std::memcpy(items[i].to, items[i].from, items[i].bytes);
  });
}

void host_checksum(const checksum_args& args, executor& exec) noexcept {
  exec.run(args.runs.size(), [&](std::size_t i, std::size_t) {
    args.out[i] = XXH3_64bits(args.runs[i].data(), args.runs[i].size());
  });
}

} // namespace pikv::gpu::detail
