// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/resident_table.hpp>

#include <cstring>
#include <utility>

#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {

/// False where there is no room.
result<bool> resident_table::grow(launch_queue& q, std::size_t views) {
  if (views * sizeof(page_view) <= block_.bytes())
    return true;
  auto more = memory_.allocate(table_copy_views(views) * sizeof(page_view));
  if (!more) {
    if (more.code() == errc::over_budget)
      return false;
    return more.error();
  }
  if (block_)
    q.keep(std::move(block_)); // kernels ahead in the stream read it
  block_ = std::move(*more);
  bytes_.store(block_.bytes(), std::memory_order_relaxed);
  have_ = 0;
  return true;
}

result<const page_view*> resident_table::bring_up(launch_queue& q, const page_list& x) {
  auto fits = grow(q, x.size());
  if (!fits)
    return fits.error();
  if (!*fits)
    return nullptr;
  if (std::exchange(edition_, x.edition) != x.edition)
    have_ = 0;
  if (have_ < x.size()) {
    const auto fresh = std::as_bytes(x.views.subspan(have_));
    const auto from = q.stage(fresh.size());
    std::memcpy(from.host, fresh.data(), fresh.size());
    PIKV_CUDA_TRY(cudaMemcpyAsync(block_.data() + have_ * sizeof(page_view), from.host,
                                  fresh.size(), cudaMemcpyHostToDevice, q.stream()));
    have_ = x.size();
  }
  return reinterpret_cast<const page_view*>(block_.data());
}

result<const page_view*> on_device(launch_queue& q, const page_list& x) {
  if (x.mirror != nullptr && !x.empty()) {
    auto p = static_cast<resident_table*>(x.mirror)->bring_up(q, x);
    if (!p || *p != nullptr)
      return p;
  }
  return q.upload(x.views);
}

} // namespace pikv::gpu::cuda
