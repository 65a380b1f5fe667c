// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/transport/copy_mover.hpp>

namespace pikv::gpu::transport {

namespace {

std::vector<std::uint64_t> checksums(const std::vector<block>& blocks, const kernel_table& kernels,
                                     executor& e) {
  const auto runs = runs_of(blocks);
  std::vector<std::uint64_t> out(runs.size());
  kernels.checksum({runs, out}, e);
  return out;
}

} // namespace

result<void> copy_mover::move(const page_move& x, executor& e) {
  if (auto r = check_deadline(x); !r)
    return r;
  const auto& kernels = ends_[x.target.value].where->kernels();
  std::vector<copy_item> items;
  for (std::size_t i = 0; i < x.from.size(); ++i)
    items.push_back({x.from[i].data(), x.to[i].data(), x.from[i].bytes()});
  const auto sent = checksums(x.from, kernels, e);
  kernels.copy(items, e);
  const auto arrived = checksums(x.to, kernels, e);
  return compare_checksums(x, sent, arrived);
}

} // namespace pikv::gpu::transport
