// SPDX-License-Identifier: Apache-2.0
/// \file
/// Exchanges of bytes between the GPUs of this process through NCCL: one group, one rank per GPU.
///
/// Threads: one thread at a time uses a group, and its calls are made in one order. Nothing waits
/// without a limit: where a limit passes, or NCCL reports an error, the group is aborted. An
/// aborted group answers every call with errc::cancelled, and why, until `reinit` builds it anew.
///
/// NCCL keeps NVLink multicast off (NCCL_NVLS_ENABLE=0) unless the environment says otherwise. The
/// first `make` sets that variable, so it comes before threads that read the environment, and
/// before other users of NCCL in the process.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <pikv/gpu/transport/nccl/communicators.hpp>
#include <pikv/messages/error.hpp>

struct CUstream_st;

namespace pikv::gpu::transport {

/// `bytes` from `source` of one rank to `target` of another or the same; both in the memory of
/// their rank's GPU, apart from each other. Nothing is done for zero bytes.
struct exchange {
  int from_rank = 0;
  int to_rank = 0;
  const std::byte* source = nullptr;
  std::byte* target = nullptr;
  std::size_t bytes = 0;
};

class nccl_group {
public:
  /// One stream per rank, in the order of ranks, each of its rank's GPU.
  using streams_ref = std::span<CUstream_st* const>;

  /// Rank i gets GPU gpus[i]. Connects every pair of ranks now, so that no exchange allocates
  /// later: an allocation would wait for all work of the GPU. Blocks: seconds, a minute at most.
  /// errc::invalid_argument for no GPU, one that does not exist, or one twice; errc::unsupported
  /// where the process sees no GPU.
  static result<std::unique_ptr<nccl_group>> make(std::span<const int> gpus);

  nccl_group(const nccl_group&) = delete;
  nccl_group& operator=(const nccl_group&) = delete;
  /// Aborts what nobody has waited for. Blocks seconds at most: what NCCL cannot free by then, it
  /// frees on threads of its own as soon as the streams let it; the process should not end before.
  ~nccl_group();

  std::size_t ranks() const noexcept { return gpus_.size(); }
  bool usable() const noexcept { return comms_.size() != 0; } ///< made, and not aborted

  /// Enqueues the exchanges behind what the streams hold, as one group, so that their order cannot
  /// block; those between the same two ranks match in the order given. NCCL starts a thread for
  /// every call: what can go together should. ok says no more than that they are enqueued: sources
  /// and targets must live, and targets may not be read, before the streams have passed. Refuses
  /// ranks that do not exist, null pointers and null streams with errc::invalid_argument, and then
  /// has enqueued nothing. Any other error aborts the group, also that NCCL has no room (thousands
  /// of exchanges are in flight) for 20 seconds or until `deadline`.
  result<void> exchange_all(std::span<const exchange> exchanges, streams_ref streams,
                            time_point deadline = time_point::max());

  /// errc::io_failed where a peer or the system failed, errc::internal for any other error of NCCL
  /// since the last call. Does not block; leaves the abort to the caller.
  result<void> poll();

  /// Waits until the streams have done all their work. Aborts the group at the deadline
  /// (errc::deadline_exceeded) and on an error of NCCL or a stream.
  result<void> wait(streams_ref streams, time_point deadline);

  /// Ends NCCL's kernels on all ranks, those that run and those still behind other work of their
  /// streams; what exchanges in flight have written is not known. Sources and targets must live
  /// until the streams have passed. Blocks for two seconds at most.
  void abort();

  /// Builds the communicators anew, after an abort or instead of one. Blocks like `make`, but not
  /// past the deadline (and the two seconds of an abort). errc::deadline_exceeded where it passes,
  /// or where a stream still holds kernels of the aborted ones behind other work: call again once
  /// that work has ended.
  result<void> reinit(time_point deadline = time_point::max());

private:
  explicit nccl_group(std::span<const int> gpus) : gpus_(gpus.begin(), gpus.end()) {}
  result<void> start(time_point deadline);
  result<void> alive() const;
  result<void> check_streams(streams_ref streams) const;
  result<void> check(std::span<const exchange> exchanges) const;
  result<void> enqueue(std::span<const exchange> exchanges, streams_ref streams);
  pikv::error give_up(pikv::error why); ///< aborts, and hands `why` back

  const std::vector<int> gpus_;
  communicators comms_; ///< empty once aborted
  reclaim aborted_;
  std::string why_;        ///< the group was aborted
  bool in_flight_ = false; ///< exchanges that no `wait` has seen the end of
};

} // namespace pikv::gpu::transport
