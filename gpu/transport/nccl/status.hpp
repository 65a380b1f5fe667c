// SPDX-License-Identifier: Apache-2.0
/// \file
/// NCCL status codes as PiKV errors. Needs NCCL's header: for .cpp files of this folder only.
#pragma once

#include <string>
#include <string_view>

#include <nccl.h>

#include <pikv/messages/error.hpp>

namespace pikv::gpu::transport {

/// A call that NCCL took; communicators that do not block answer ncclInProgress for most.
inline bool taken(ncclResult_t code) noexcept {
  return code == ncclSuccess || code == ncclInProgress;
}

/// A peer or the system failed (io_failed), or a call was wrong (internal).
inline errc kind_of(ncclResult_t code) noexcept {
  return code == ncclRemoteError || code == ncclSystemError ? errc::io_failed : errc::internal;
}

/// "ncclSend, rank 1: internal error (what NCCL said last)". `comm` may be null.
inline pikv::error nccl_error(ncclResult_t code, std::string_view call, ncclComm_t comm = nullptr) {
  std::string what(call);
  what += ": ";
  what += ncclGetErrorString(code);
  if (const char* last = ncclGetLastError(comm); last != nullptr && *last != '\0') {
    what += " (";
    what += last;
    what += ')';
  }
  return {kind_of(code), std::move(what)};
}

} // namespace pikv::gpu::transport

/// Returns from the enclosing function (of type result<T>) when NCCL refuses a call.
#define PIKV_NCCL_TRY(call)                                                                        \
  do {                                                                                             \
    if (const ncclResult_t pikv_nccl_code = (call);                                                \
        !::pikv::gpu::transport::taken(pikv_nccl_code))                                            \
      return ::pikv::gpu::transport::nccl_error(pikv_nccl_code, #call);                            \
  } while (false)
