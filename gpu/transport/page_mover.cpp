// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/transport/page_mover.hpp>

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include <pikv/gpu/transport/copy_mover.hpp>
#ifdef PIKV_WITH_CUDA
#include <pikv/gpu/cuda/peer_access.hpp>
#endif
#ifdef PIKV_WITH_NCCL
#include <pikv/gpu/transport/nccl/nccl_mover.hpp>
#endif

namespace pikv::gpu::transport {

namespace {

/// Whether kernels of `target` reach the memory of `source`.
bool reaches(const device& target, const device& source) {
  if (target.gpu() == source.gpu())
    return true;
#ifdef PIKV_WITH_CUDA
  return cuda::can_read(target.gpu(), source.gpu());
#else
  return false;
#endif
}

result<std::shared_ptr<page_mover>> make_nccl_mover([[maybe_unused]] std::vector<end_point> ends) {
#ifdef PIKV_WITH_NCCL
  auto made = nccl_mover::make(std::move(ends));
  if (!made)
    return error{made.code(), "NCCL, which is to move pages between GPUs (transfer.path), does not "
                              "start: "
                                  + made.error().what};
  return std::shared_ptr<page_mover>{std::move(*made)};
#else
  return error{errc::unsupported,
               "a GPU does not reach the memory of another, and this build has no NCCL: build it "
               "with -DPIKV_WITH_NCCL=ON, or hide GPUs with CUDA_VISIBLE_DEVICES"};
#endif
}

} // namespace

result<page_movers> page_movers::make(move_path path, std::vector<end_point> ends) {
  page_movers x;
  x.devices_ = ends.size();
  auto copies = copy_mover::make(ends);
  if (!copies)
    return copies.error();
  x.copies_ = *copies;
  x.routes_.assign(ends.size() * ends.size(), *copies);
  for (std::size_t i = 0; i < x.routes_.size(); ++i) {
    const auto source = i / ends.size(), target = i % ends.size();
    const bool near = reaches(*ends[target].where, *ends[source].where);
    x.all_reach_ = x.all_reach_ && near;
    if (source == target || (near && path != move_path::nccl))
      continue;
    if (path == move_path::peer)
      return {errc::unsupported,
              fmt::format("device {} does not reach the memory of device {}; set transfer.path to "
                          "auto",
                          target, source)};
    if (x.nccl_ == nullptr) {
      auto made = make_nccl_mover(ends);
      if (!made)
        return made.error();
      x.nccl_ = std::move(*made);
    }
    x.routes_[i] = x.nccl_;
  }
  return x;
}

const std::shared_ptr<page_mover>& page_movers::between(device_id source,
                                                        device_id target) const noexcept {
  return routes_[source.value * devices_ + target.value];
}

void page_movers::synchronize() const {
  if (nccl_ != nullptr)
    nccl_->stream_to({}).synchronize();
  if (copies_ != nullptr)
    copies_->synchronize();
}

result<void> check_path(move_path path, std::string_view backend) {
  if (path != move_path::nccl)
    return {};
  if (backend != "cuda")
    return {errc::unsupported, fmt::format("transfer.path nccl does not go with backend {}; set it "
                                           "to auto, or devices.backend to cuda",
                                           backend)};
#ifdef PIKV_WITH_NCCL
  return {};
#else
  return {errc::unsupported, "transfer.path nccl: this build has no NCCL; build it with "
                             "-DPIKV_WITH_NCCL=ON, or set transfer.path to auto or peer"};
#endif
}

std::vector<std::span<const std::byte>> runs_of(const std::vector<block>& blocks) {
  std::vector<std::span<const std::byte>> runs;
  runs.reserve(blocks.size());
  for (const auto& x : blocks)
    runs.emplace_back(x.data(), x.bytes());
  return runs;
}

result<void> compare_checksums(const page_move& x, std::span<const std::uint64_t> sent,
                               std::span<const std::uint64_t> arrived) {
  const auto bad = std::ranges::mismatch(sent, arrived);
  if (bad.in1 == sent.end())
    return {};
  const auto i = static_cast<std::size_t>(bad.in1 - sent.begin());
  return {errc::corrupt_page, fmt::format("a page of {} bytes did not arrive as it was sent; the "
                                          "original is kept",
                                          x.from[i].bytes())};
}

result<void> check_deadline(const page_move& x) {
  if (std::chrono::steady_clock::now() < x.deadline)
    return {};
  return {errc::deadline_exceeded, "a move of pages came too late; they stay where they were"};
}

} // namespace pikv::gpu::transport
