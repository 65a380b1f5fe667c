// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/transport/nccl/communicators.hpp>

#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include <pikv/gpu/cuda/status.hpp>
#include <pikv/gpu/transport/nccl/device_guard.hpp>
#include <pikv/gpu/transport/nccl/status.hpp>

namespace pikv::gpu::transport {

namespace {

/// Enqueues the building of every rank's communicator as one group.
result<void> start(std::span<const int> gpus, std::span<ncclComm*> comms) {
  const device_guard guard;
  ncclUniqueId id;
  PIKV_NCCL_TRY(ncclGetUniqueId(&id));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  PIKV_NCCL_TRY(ncclGroupStart());
  result<void> outcome;
  for (std::size_t rank = 0; rank < gpus.size() && outcome; ++rank) {
    outcome = cuda::check(cudaSetDevice(gpus[rank]), "cudaSetDevice");
    if (!outcome)
      break;
    const auto code = ncclCommInitRankConfig(&comms[rank], static_cast<int>(gpus.size()), id,
                                             static_cast<int>(rank), &config);
    if (!taken(code))
      outcome = nccl_error(code, fmt::format("ncclCommInitRankConfig, rank {}", rank));
  }
  // Also after a failure: the thread would stay in the group.
  const auto code = ncclGroupEnd();
  if (outcome && !taken(code))
    outcome = nccl_error(code, "ncclGroupEnd");
  return outcome;
}

/// The state of one rank; ncclInProgress while it works on the last call.
result<bool> ready(ncclComm* comm, std::size_t rank, std::string_view call) {
  ncclResult_t state = ncclSuccess;
  if (const auto code = ncclCommGetAsyncError(comm, &state); code != ncclSuccess)
    return nccl_error(code, fmt::format("ncclCommGetAsyncError, rank {}", rank), comm);
  if (!taken(state))
    return nccl_error(state, fmt::format("{}, rank {}", call, rank), comm);
  return state == ncclSuccess;
}

} // namespace

struct reclaim::state {
  std::mutex mutex;
  std::condition_variable gone;
  std::size_t left = 0;
};

reclaim::reclaim(std::span<ncclComm* const> comms, ending how) : state_(std::make_shared<state>()) {
  state_->left = comms.size();
  for (auto* comm : comms) {
    // One thread each: an abort first tells its own rank's kernels to end and then waits for what
    // the other ranks do, so that one thread for all could wait for ranks that were not told yet.
    try {
      std::thread([s = state_, comm, how] {
        if (comm != nullptr)
          how == ending::abort ? ncclCommAbort(comm) : ncclCommDestroy(comm);
        const std::lock_guard lock(s->mutex);
        --s->left;
        s->gone.notify_all();
      }).detach();
    } catch (const std::system_error&) {
      // No thread to be had. It is never reclaimed, and `wait` says so.
    }
  }
}

bool reclaim::wait(time_point deadline) const {
  if (state_ == nullptr)
    return true;
  std::unique_lock lock(state_->mutex);
  return state_->gone.wait_until(lock, deadline, [this] { return state_->left == 0; });
}

result<communicators> communicators::make(std::span<const int> gpus, time_point deadline,
                                          reclaim& failed) {
  communicators x;
  x.comms_.resize(gpus.size());
  auto r = start(gpus, x.comms_);
  if (r)
    r = x.settle("ncclCommInitRankConfig", deadline);
  if (r)
    return x;
  failed = x.end(ending::abort);
  return r.error();
}

result<void> communicators::settle(std::string_view call, time_point deadline) const {
  const patience patience;
  for (std::size_t rank = 0; rank < comms_.size();) {
    const auto done = ready(comms_[rank], rank, call);
    if (!done)
      return done.error();
    if (*done) {
      ++rank;
      continue;
    }
    if (std::chrono::steady_clock::now() >= deadline)
      return {errc::deadline_exceeded, fmt::format("{}, rank {}: not done in time", call, rank)};
    patience.pause();
  }
  return {};
}

result<void> communicators::poll() const {
  for (std::size_t rank = 0; rank < comms_.size(); ++rank)
    if (const auto r = ready(comms_[rank], rank, "asynchronous error"); !r)
      return r.error();
  return {};
}

reclaim communicators::end(ending how) { return {std::exchange(comms_, {}), how}; }

} // namespace pikv::gpu::transport
