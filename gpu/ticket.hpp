// SPDX-License-Identifier: Apache-2.0
/// \file
/// The end of a request as an engine's GPU stream sees it: a word that the stream waits for and that
/// is written in any case, by the GPU behind the request's last kernel or by the host when the
/// request fails. Thread-safe.
#pragma once

#include <cstdint>

#include <pikv/messages/error.hpp>

namespace pikv::gpu {

class executor;

class ticket {
public:
  virtual ~ticket() = default;

  /// Lets the later work of a native stream (CUDA: cudaStream_t) wait until the ticket has passed.
  /// Enqueues and returns; where a backend cannot let streams wait for words, it blocks until the
  /// request's last kernel has been enqueued or the request has failed.
  virtual result<void> hold(void* native_stream) = 0;
  /// 0, or the errc of the failure; to be read on the device behind `hold`. Lives as long as the
  /// ticket.
  virtual const std::uint32_t* status() const noexcept = 0;

  /// Called in a task: passes behind the kernels enqueued so far.
  virtual void pass(executor& x) noexcept = 0;
  /// The request has ended. A failure passes the ticket at once, whatever kernels still do.
  virtual void end(errc code) noexcept = 0;
};

} // namespace pikv::gpu
