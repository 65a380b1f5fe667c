// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/peer_access.hpp>

#include <mutex>
#include <set>
#include <utility>

#include <fmt/format.h>

#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {

namespace {

struct peer_table {
  std::mutex mutex;
  std::set<int> used;
  std::set<std::pair<int, int>> open; ///< (reader, owner)
};

peer_table& peers() {
  static peer_table x;
  return x;
}

/// False where the hardware has no way between them.
result<bool> open_access(int reader, int owner) {
  int can = 0;
  PIKV_CUDA_TRY(cudaDeviceCanAccessPeer(&can, reader, owner));
  if (can == 0)
    return false;
  PIKV_CUDA_TRY(cudaSetDevice(reader));
  if (const auto code = cudaDeviceEnablePeerAccess(owner, 0); code != cudaSuccess) {
    cudaGetLastError();
    if (code != cudaErrorPeerAccessAlreadyEnabled)
      return cuda_error(code, "cudaDeviceEnablePeerAccess");
  }
  return true;
}

} // namespace

result<void> connect_to_peers(int gpu, bool required) {
  auto& x = peers();
  const std::lock_guard lock{x.mutex};
  for (const int other : x.used)
    for (const auto& [reader, owner] : {std::pair{gpu, other}, std::pair{other, gpu}}) {
      if (reader == owner || x.open.contains({reader, owner}))
        continue;
      const auto opened = open_access(reader, owner);
      if (opened && *opened)
        x.open.insert({reader, owner});
      else if (!opened && required)
        return opened.error();
      else if (required)
        return {
            errc::unsupported,
            fmt::format("GPU {} cannot read the memory of GPU {}; set transfer.path to auto, or "
                        "hide one of them with CUDA_VISIBLE_DEVICES",
                        reader, owner)};
    }
  x.used.insert(gpu);
  return check(cudaSetDevice(gpu), "cudaSetDevice");
}

bool can_read(int reader, int owner) {
  if (reader == owner)
    return true;
  auto& x = peers();
  const std::lock_guard lock{x.mutex};
  return x.open.contains({reader, owner});
}

bool can_reach(int reader, const void* p) noexcept {
  cudaPointerAttributes x{};
  if (cudaPointerGetAttributes(&x, p) != cudaSuccess) {
    cudaGetLastError(); // it must not be taken for one of a launch
    return true;        // the host's
  }
  return x.type != cudaMemoryTypeDevice || can_read(reader, x.device);
}

} // namespace pikv::gpu::cuda
