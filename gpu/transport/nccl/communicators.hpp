// SPDX-License-Identifier: Apache-2.0
/// \file
/// NCCL's communicators of one group, one per GPU, and what is left of them once they were given
/// up. For nccl_group, which says what its users may rely on.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <pikv/gpu/transport/nccl/patience.hpp>
#include <pikv/messages/error.hpp>

struct ncclComm;

namespace pikv::gpu::transport {

enum class ending { destroy, abort };

/// Communicators on their way out. NCCL frees one only when its streams have passed every kernel
/// that it launched, also after an abort, and blocks until then: so each has a thread of its own,
/// and whoever gave them up waits as long as it likes. Copies share the same communicators.
class reclaim {
public:
  reclaim() = default; ///< of nothing, done
  reclaim(std::span<ncclComm* const> comms, ending how);

  /// True once all are gone; false at the deadline.
  bool wait(time_point deadline) const;

private:
  struct state;
  std::shared_ptr<state> state_;
};

/// Ready communicators of the ranks 0 to size() - 1. Does not block: a call that NCCL has taken is
/// only known to be done after `settle`, and none may be made before.
class communicators {
public:
  /// Builds them. What a failure leaves behind is aborted in the background, into `failed`.
  static result<communicators> make(std::span<const int> gpus, time_point deadline,
                                    reclaim& failed);

  std::size_t size() const noexcept { return comms_.size(); }
  ncclComm* at(std::size_t rank) const noexcept { return comms_[rank]; }

  /// Waits until every rank has done what `call` asked of it; errc::deadline_exceeded if not.
  result<void> settle(std::string_view call, time_point deadline) const;
  /// The first rank's asynchronous error.
  result<void> poll() const;
  /// Gives them up. None is left afterwards.
  reclaim end(ending how);

private:
  std::vector<ncclComm*> comms_;
};

} // namespace pikv::gpu::transport
