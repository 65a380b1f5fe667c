// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/transport/nccl/nccl_group.hpp>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <utility>

#include <fmt/format.h>

#include <pikv/gpu/cuda/status.hpp>
#include <pikv/gpu/transport/nccl/pair_probe.hpp>
#include <pikv/gpu/transport/nccl/status.hpp>

namespace pikv::gpu::transport {

namespace {

using namespace std::chrono_literals;

constexpr auto setup_limit = 60s;   // eight GPUs take several seconds
constexpr auto enqueue_limit = 20s; // the first exchanges connect; later ones take microseconds
constexpr auto abort_limit = 2s;
constexpr auto reclaim_limit = 10s;

/// NVLink multicast can put GPUs that others share out of service when a program ends badly, and
/// exchanges between two ranks have no use for it. NCCL reads the variable once, at its start.
void keep_multicast_off() {
  static std::once_flag once;
  std::call_once(once, [] { setenv("NCCL_NVLS_ENABLE", "0", /*overwrite=*/0); });
}

result<void> check_gpus(std::span<const int> gpus) {
  if (gpus.empty())
    return {errc::invalid_argument, "a group needs at least one GPU"};
  int known = 0;
  if (const auto code = cudaGetDeviceCount(&known); code != cudaSuccess) {
    cudaGetLastError();
    return {errc::unsupported, cuda::cuda_error(code, "cudaGetDeviceCount").what};
  }
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    if (gpus[i] < 0 || gpus[i] >= known)
      return {errc::invalid_argument, fmt::format("no GPU {}: there are {}", gpus[i], known)};
    if (std::ranges::count(gpus, gpus[i]) > 1)
      return {errc::invalid_argument, fmt::format("GPU {} twice in a group", gpus[i])};
  }
  return {};
}

/// Whether every stream has done its work.
result<bool> all_done(nccl_group::streams_ref streams) {
  for (auto* stream : streams) {
    const auto code = cudaStreamQuery(stream);
    if (code == cudaSuccess)
      continue;
    cudaGetLastError(); // not for the next caller on this thread
    if (code == cudaErrorNotReady)
      return false;
    return cuda::cuda_error(code, "cudaStreamQuery");
  }
  return true;
}

} // namespace

result<std::unique_ptr<nccl_group>> nccl_group::make(std::span<const int> gpus) {
  if (auto r = check_gpus(gpus); !r)
    return r.error();
  keep_multicast_off();
  std::unique_ptr<nccl_group> x{new nccl_group(gpus)};
  if (auto r = x->start(in(setup_limit)); !r)
    return r.error();
  return x;
}

nccl_group::~nccl_group() {
  const bool held_up = !usable() || in_flight_;
  if (usable())
    aborted_ = comms_.end(in_flight_ ? ending::abort : ending::destroy);
  aborted_.wait(in(held_up ? abort_limit : reclaim_limit));
}

result<void> nccl_group::start(time_point deadline) {
  auto made = communicators::make(gpus_, deadline, aborted_);
  if (!made) {
    why_ = made.error().what;
    return made.error();
  }
  comms_ = std::move(*made);
  in_flight_ = false;
  const auto probe = pair_probe::make(gpus_);
  if (!probe)
    return give_up(probe.error());
  if (auto r = exchange_all((*probe)->all_pairs(), (*probe)->streams(), deadline); !r)
    return r;
  return wait((*probe)->streams(), deadline);
}

result<void> nccl_group::alive() const {
  if (usable())
    return {};
  return {errc::cancelled, "the group was aborted, call reinit: " + why_};
}

result<void> nccl_group::check_streams(streams_ref streams) const {
  if (streams.size() != ranks())
    return {errc::invalid_argument,
            fmt::format("{} streams for {} ranks", streams.size(), ranks())};
  if (std::ranges::find(streams, nullptr) != streams.end())
    return {errc::invalid_argument, "a null stream: which GPU's, NCCL could not know"};
  return {};
}

result<void> nccl_group::check(std::span<const exchange> exchanges) const {
  const auto known = [this](int rank) { return rank >= 0 && std::cmp_less(rank, ranks()); };
  for (std::size_t i = 0; i < exchanges.size(); ++i) {
    const auto& x = exchanges[i];
    if (!known(x.from_rank) || !known(x.to_rank))
      return {errc::invalid_argument, fmt::format("exchange {}: from rank {} to {}, of {}", i,
                                                  x.from_rank, x.to_rank, ranks())};
    if (x.bytes > 0 && (x.source == nullptr || x.target == nullptr))
      return {errc::invalid_argument,
              fmt::format("exchange {}: a null pointer for {} bytes", i, x.bytes)};
  }
  return {};
}

result<void> nccl_group::exchange_all(std::span<const exchange> exchanges, streams_ref streams,
                                      time_point deadline) {
  for (auto r : {alive(), check_streams(streams), check(exchanges)})
    if (!r)
      return r;
  if (std::ranges::all_of(exchanges, [](const exchange& x) { return x.bytes == 0; }))
    return {};
  in_flight_ = true;
  auto r = enqueue(exchanges, streams);
  if (r)
    r = comms_.settle("ncclGroupEnd", std::min(deadline, in(enqueue_limit)));
  if (!r)
    return give_up(r.error());
  return r;
}

result<void> nccl_group::enqueue(std::span<const exchange> exchanges, streams_ref streams) {
  PIKV_NCCL_TRY(ncclGroupStart());
  result<void> outcome;
  const auto call = [&](ncclResult_t code, std::string_view name, int rank) {
    if (outcome && !taken(code))
      outcome = nccl_error(code, fmt::format("{}, rank {}", name, rank));
  };
  for (const auto& x : exchanges) {
    if (x.bytes == 0) // NCCL would launch kernels for it
      continue;
    const auto from = static_cast<std::size_t>(x.from_rank);
    const auto to = static_cast<std::size_t>(x.to_rank);
    call(ncclSend(x.source, x.bytes, ncclInt8, x.to_rank, comms_.at(from), streams[from]),
         "ncclSend", x.from_rank);
    call(ncclRecv(x.target, x.bytes, ncclInt8, x.from_rank, comms_.at(to), streams[to]), "ncclRecv",
         x.to_rank);
    if (!outcome)
      break;
  }
  // Also after a failure, which makes it enqueue nothing: the thread would stay in the group.
  const auto code = ncclGroupEnd();
  if (outcome && !taken(code))
    outcome = nccl_error(code, "ncclGroupEnd");
  return outcome;
}

result<void> nccl_group::poll() {
  if (auto r = alive(); !r)
    return r;
  return comms_.poll();
}

result<void> nccl_group::wait(streams_ref streams, time_point deadline) {
  for (auto r : {alive(), check_streams(streams)})
    if (!r)
      return r;
  for (const patience patience;; patience.pause()) {
    const auto done = all_done(streams);
    if (!done)
      return give_up(done.error());
    // Also when done: kernels that ended early because a peer failed leave idle streams behind.
    if (auto r = comms_.poll(); !r)
      return give_up(r.error());
    if (*done)
      break;
    if (std::chrono::steady_clock::now() >= deadline)
      return give_up({errc::deadline_exceeded, "the exchanges did not end in time"});
  }
  in_flight_ = false;
  return {};
}

pikv::error nccl_group::give_up(pikv::error why) {
  why_ = why.what;
  aborted_ = comms_.end(ending::abort);
  aborted_.wait(in(abort_limit));
  return why;
}

void nccl_group::abort() {
  if (usable())
    give_up({errc::cancelled, "abort() was called"});
}

result<void> nccl_group::reinit(time_point deadline) {
  abort();
  if (!aborted_.wait(std::min(deadline, in(reclaim_limit))))
    return {errc::deadline_exceeded,
            "streams still hold kernels of the aborted group; end what they wait for"};
  return start(std::min(deadline, in(setup_limit)));
}

} // namespace pikv::gpu::transport
